//! The diff that `docs/adding.md` shows is the file it speaks of.

use std::path::Path;

#[test]
fn the_model_type_that_is_shown_is_the_one_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/adding.md")).unwrap();
    let mut shown = 0;
    for diff in page.split("```diff\n").skip(1) {
        let mut lines = diff.lines().map(str::trim_start).take_while(|line| *line != "```");
        let path = lines.next().and_then(|line| line.strip_prefix("+++ b/")).unwrap();
        let added: Vec<&str> = lines.map(|line| line.strip_prefix('+').unwrap()).collect();
        let file = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(file.contains(&added.join("\n")), "{path} has no longer:\n{}", added.join("\n"));
        shown += 1;
    }
    assert_eq!(shown, 2);
}
