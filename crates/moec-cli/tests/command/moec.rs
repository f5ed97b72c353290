//! Runs the command in a folder of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder that commands run in.
pub(crate) struct Folder(TempDir);

/// What a command left.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// An example's path.
pub(crate) fn example(name: &str) -> String {
    root().join("examples").join(name).display().to_string()
}

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// The folder with one file.
    pub(crate) fn with(name: &str, content: impl AsRef<[u8]>) -> Folder {
        let folder = Folder::new();
        folder.write(name, content);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of everything in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn moec(&self, arguments: &[&str]) -> Ended {
        self.moec_reading(arguments, b"")
    }

    /// Runs the command with this standard input. It never panics, and ends in one of the documented ways.
    pub(crate) fn moec_reading(&self, arguments: &[&str], stdin: &[u8]) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_moec"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("MOEC_BLESS")
            // Figures that were measured on this machine would change what is chosen.
            .env("XDG_CACHE_HOME", self.0.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        let output = child.wait_with_output().unwrap();
        let ended = Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        let said = format!("{arguments:?}\n{}{}", ended.out, ended.err);
        assert!([0, 1, 2, 3].contains(&ended.code), "exit code {}: {said}", ended.code);
        assert!(!ended.err.contains("this is a bug in moec") && !ended.err.contains("panicked"), "{said}");
        ended
    }
}

impl Ended {
    /// Both streams and the code, for snapshots.
    pub(crate) fn all(&self) -> String {
        let mut text = format!("exit {}\n", self.code);
        for (name, stream) in [("out", &self.out), ("err", &self.err)] {
            if !stream.is_empty() {
                text.push_str(&format!("---- {name} ----\n{}\n", stream.trim_end()));
            }
        }
        text.replace(&root().display().to_string(), "")
    }

    /// What a terminal would show.
    pub(crate) fn all_streams(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// Expects failure with code 1 and a message that has these words.
    pub(crate) fn refused(self, words: &[&str]) {
        let ended = self.expect(1);
        for word in words {
            assert!(ended.err.contains(word), "no `{word}` in {}", ended.err);
        }
        assert!(ended.err.contains("error"), "{}", ended.err);
    }
}

/// The text with numbers that are times, and what else differs between runs, blanked.
pub(crate) fn without_times(text: &str) -> String {
    let blank = |line: &str| {
        let timed = ["compile ", "load ", "run ", "verify "].iter().any(|head| line.starts_with(head));
        let words = line.split(' ').map(|word| {
            let number = word.trim_end_matches([',', ';', ')']);
            let is_time = number.contains('.') && number.chars().all(|c| c.is_ascii_digit() || c == '.');
            let is_error = number.contains("e-") && number.parse::<f64>().is_ok();
            if timed && (is_time || is_error) { word.replace(number, "*") } else { word.to_owned() }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(blank).collect::<Vec<_>>().join("\n")
}
