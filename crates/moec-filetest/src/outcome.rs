//! Runs a test file: front end, stages, executions, and the blocks they are held against.

use moec::diag::{Diagnostic, SourceFile, render};
use moec::{CompileError, Emit, Options};

use crate::block::Block;
use crate::case::{Case, CaseError};
use crate::diff::line_diff;
use crate::execute::execute;
use crate::finding;

/// What came of a test file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everything that is not as the file says; empty if it passed.
    pub failures: Vec<String>,
    /// Whether the file was rewritten.
    pub blessed: bool,
}

/// Runs a test file. With `bless`, expected blocks that differ are rewritten instead of reported.
pub fn run(case: &Case, bless: bool) -> Result<Outcome, CaseError> {
    let mut outcome = Outcome::default();
    let mut blocks = case.blocks.clone();
    match attempt(case, &mut outcome.failures) {
        Ok(made) => {
            for block in &mut blocks {
                match made.text(&block.name) {
                    Ok(text) if text == block.text => {}
                    Ok(text) if bless => block.text = text,
                    Ok(text) => {
                        let diff = line_diff(&block.text, &text);
                        outcome.failures.push(format!("`expect {}` differs:\n{diff}", block.name));
                    }
                    Err(message) => outcome.failures.push(message),
                }
            }
        }
        Err(message) => outcome.failures.push(message),
    }
    if blocks != case.blocks {
        rewrite(case, &blocks)?;
        outcome.blessed = true;
    }
    Ok(outcome)
}

fn rewrite(case: &Case, blocks: &[Block]) -> Result<(), CaseError> {
    let text =
        case.with_blocks(blocks).map_err(|message| CaseError::Form { file: case.path.clone(), message })?;
    std::fs::write(&case.path, text).map_err(|source| CaseError::File { file: case.path.clone(), source })
}

/// What a case printed.
struct Made<'a> {
    case: &'a Case,
    options: Options,
    report: String,
    values: String,
}

impl Made<'_> {
    /// The text that belongs into the block of that name.
    fn text(&self, name: &str) -> Result<String, String> {
        match name {
            "report" => Ok(self.report.clone()),
            "values" => Ok(self.values.clone()),
            _ => {
                let form = Emit::from_name(name)
                    .ok_or_else(|| format!("`expect {name}`: there is no stage `{name}`"))?;
                let texts = moec::emit(&self.case.source, &self.options, &[form], &mut |_| ())
                    .map_err(|error| format!("{name}: {error}"))?;
                Ok(texts.into_iter().map(|(_, text)| text).collect())
            }
        }
    }
}

fn attempt<'a>(case: &'a Case, failures: &mut Vec<String>) -> Result<Made<'a>, String> {
    let options = case.header.options()?;
    let (findings, passed) = findings(case, &options)?;
    failures.extend(finding::compare(&case.announced, &findings, &case.source));
    // Without folders, so that the text is the same wherever the tree lies.
    let name = case.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let shown = SourceFile { name, text: case.source.text.clone() };
    let report = findings.iter().map(|finding| render(finding, &shown, false, 100) + "\n").collect();
    let mut made = Made { case, options, report, values: String::new() };
    if !case.runs.is_empty() {
        if !passed {
            return Err("a program with errors cannot be run".to_owned());
        }
        made.values = execute(case, &made.options, failures)?;
    }
    Ok(made)
}

/// Every finding of the front end, and whether the program has a meaning.
fn findings(case: &Case, options: &Options) -> Result<(Vec<Diagnostic>, bool), String> {
    let SourceFile { name, .. } = &case.source;
    let checked = if name.ends_with(".moir") {
        moec::front(&case.source, options, &mut |_| ()).map(|checked| checked.warnings)
    } else {
        moec::check(&case.source, options).map(|(_, warnings)| warnings)
    };
    match checked {
        Ok(warnings) => Ok((warnings, true)),
        Err(CompileError::Source(diagnostics)) => Ok((diagnostics, false)),
        Err(error) => Err(error.to_string()),
    }
}
