//! Expected blocks: the comments at the end of a test file that hold what a stage is to print.

/// A block, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What it holds: a stage, `values` or `report`.
    pub(crate) name: String,
    /// The text without comment marks; ends with a newline unless it is empty.
    pub(crate) text: String,
}

const START: &str = "// expect ";

/// The file up to its first block, and the blocks. After the first block there may be nothing else.
pub(crate) fn split(text: &str) -> Result<(&str, Vec<Block>), String> {
    let is_start = |line: &str| line.starts_with(START);
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if is_start(line) {
            break;
        }
        offset += line.len();
    }
    let (program, rest) = text.split_at(offset);
    let mut blocks: Vec<Block> = Vec::new();
    for line in rest.lines() {
        if let Some(name) = line.strip_prefix(START) {
            let name = name
                .trim_end()
                .strip_suffix(':')
                .ok_or_else(|| format!("`{line}` needs a colon at its end"))?;
            blocks.push(Block { name: name.to_owned(), text: String::new() });
        } else if let (Some(line), Some(block)) = (line.strip_prefix("//"), blocks.last_mut()) {
            block.text.push_str(line.strip_prefix("     ").unwrap_or(line.trim_start()));
            block.text.push('\n');
        } else if !line.trim().is_empty() {
            return Err(format!("`{line}` stands after an expected block; blocks come last"));
        }
    }
    Ok((program, blocks))
}

/// The file with these blocks.
pub(crate) fn join(program: &str, blocks: &[Block]) -> String {
    let mut text = program.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        text.push_str(&format!("{START}{}:\n", block.name));
        for line in block.text.lines() {
            let line = if line.is_empty() { "//".to_owned() } else { format!("//     {line}") };
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "model m {\n}\n\n// expect opt:\n//     a {\n//         b\n//\n//     }\n\n// expect values:\n";

    #[test]
    fn blocks_are_read_and_written() {
        let (program, blocks) = split(FILE).unwrap();
        assert_eq!(program, "model m {\n}\n\n");
        assert_eq!(blocks[0], Block { name: "opt".into(), text: "a {\n    b\n\n}\n".into() });
        assert_eq!(blocks[1], Block { name: "values".into(), text: String::new() });
        assert_eq!(join(program, &blocks), FILE);
    }

    #[test]
    fn nothing_follows_a_block() {
        assert!(split("// expect opt:\nmodel m {\n").is_err());
        assert!(split("// expect opt\n").is_err());
        assert_eq!(split("model m {}\n").unwrap().1, []);
    }
}
