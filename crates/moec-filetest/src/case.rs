//! A test file, read.

use std::path::{Path, PathBuf};

use moec_diag::SourceFile;

use crate::block::{self, Block};
use crate::finding::{self, Announced};
use crate::header::{Header, Run};

/// A test file that cannot be read as one.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A header, directive or block that makes no sense.
    #[error("{}: {message}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A test file: a program and what is to be true of it.
#[derive(Debug)]
pub struct Case {
    pub(crate) path: PathBuf,
    /// The whole file, under the name that messages print.
    pub(crate) source: SourceFile,
    pub(crate) header: Header,
    pub(crate) announced: Vec<Announced>,
    pub(crate) runs: Vec<Run>,
    pub(crate) blocks: Vec<Block>,
}

impl Case {
    /// Reads a file. Messages about it use the path as given.
    pub fn read(path: &Path) -> Result<Case, CaseError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CaseError::File { file: path.to_path_buf(), source })?;
        Case::new(path, text).map_err(|message| CaseError::Form { file: path.to_path_buf(), message })
    }

    /// The same file under another header; for files that are examples first and tests second.
    pub fn with_header(mut self, header: Header) -> Result<Case, CaseError> {
        for text in &header.run {
            let run =
                Run::read(text).map_err(|message| CaseError::Form { file: self.path.clone(), message })?;
            self.runs.push(run);
        }
        self.header = header;
        Ok(self)
    }

    fn new(path: &Path, text: String) -> Result<Case, String> {
        let (program, blocks) = block::split(&text)?;
        let header: String = program
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .flat_map(|line| [line.trim_start(), "\n"])
            .collect();
        let header: Header =
            toml::from_str(&header).map_err(|error| format!("header: {}", error.message()))?;
        let announced = finding::announced(program)?;
        let run_lines = program.lines().filter_map(|line| line.trim_start().strip_prefix("// run:"));
        let runs = header.run.iter().map(String::as_str).chain(run_lines).map(|text| Run::read(text.trim()));
        let runs = runs.collect::<Result<Vec<Run>, String>>()?;
        let source = SourceFile::new(path.display().to_string(), text.clone());
        Ok(Case { path: path.to_path_buf(), source, header, announced, runs, blocks })
    }

    /// The file with other blocks.
    pub(crate) fn with_blocks(&self, blocks: &[Block]) -> Result<String, String> {
        let (program, _) = block::split(&self.source.text)?;
        Ok(block::join(program, blocks))
    }
}
