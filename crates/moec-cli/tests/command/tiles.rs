//! `moec tiles`: every tile that a product could be made of, and those that it is made of.

use crate::moec::Folder;

#[test]
fn tiles_of_a_shape_are_listed() {
    let folder = Folder::new();
    let list = |line: &str| folder.moec(&line.split(' ').collect::<Vec<_>>()).all();
    insta::assert_snapshot!("tiles_f32", list("tiles --shape 2048,1000 --target x86_64-v4 --list"));
    insta::assert_snapshot!(
        "tiles_bf16",
        list("tiles --shape 64,64 --type bf16 --target x86_64-v4-bf16 --rows 1,9,100 --list")
    );
    insta::assert_snapshot!("tiles_none", list("tiles --shape 64,64 --type bf16 --target x86_64 --list"));
}

#[test]
fn tiles_of_a_program_are_those_of_its_products() {
    let source = "model m {
    dim T, H = 32, F = 48, E = 8, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]     from \"router\"
    weight w      : bf16[E, F, H] from \"w.{E}\"
    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, F] = sum e over E { g[e] * (x @ w[e].T) }
}
";
    let folder = Folder::with("m.moe", source);
    let ended = folder.moec(&["tiles", "m.moe", "--target", "x86_64-v3", "--list"]);
    insta::assert_snapshot!("tiles_of_a_program", ended.all());
}

#[test]
fn tiles_are_measured() {
    let folder = Folder::new();
    let text = folder.moec(&["tiles", "--shape", "64,64", "--rows", "3"]).expect(0).out;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("probes") && lines[1].contains("of peak"), "{text}");
    assert!(lines.len() > 7 && lines[2..].iter().all(|line| line.matches('%').count() == 2), "{text}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("  3")).count(), 1, "{text}");
}

#[test]
fn shapes_that_are_none_are_refused() {
    let folder = Folder::new();
    for line in
        ["tiles", "tiles --shape 3", "tiles --shape 0,4", "tiles --shape 3,4 --rows 0", "tiles --shape 3,x"]
    {
        folder.moec(&line.split(' ').collect::<Vec<_>>()).expect(2);
    }
    folder.moec(&["tiles", "gone.moe"]).refused(&["gone.moe"]);
}
