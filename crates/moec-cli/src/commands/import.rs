//! `moec import`: a layer of a model folder as source.

use std::path::PathBuf;

use moec::diag::{Diagnostic, SourceFile};
use moec::{Folder, ImportError, ImportOptions, Options};

use crate::failure::Failure;
use crate::files::write;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The folder has a config.json and weights as *.safetensors, in one file or several with an index, as
Hugging Face publishes models. The source is bound to the names in those files: run it with
`--weights DIR`. Only headers are read. Known model types are listed by `moec import --list`.

Examples:
  moec import OLMoE-1B-7B-0924/                     the first layer that has experts, to the terminal
  moec import Mixtral-8x7B-v0.1/ --layer 3 -o mixtral.moe
  moec run mixtral.moe --weights Mixtral-8x7B-v0.1/
  moec run mixtral.moe --weights Mixtral-8x7B-v0.1/ --set layer=7")]
pub(crate) struct Args {
    /// The model folder
    #[arg(value_name = "DIR", required_unless_present = "list")]
    folder: Option<PathBuf>,

    /// The layer, counted from 0; the first with a mixture of experts if not given
    #[arg(long, value_name = "N")]
    layer: Option<u64>,

    /// Where the source goes; standard output if not given
    #[arg(short, long, value_name = "FILE.moe")]
    output: Option<PathBuf>,

    /// Reads the folder as this model type, whatever its configuration says
    #[arg(long = "as", value_name = "MODEL_TYPE")]
    read_as: Option<String>,

    /// Lists the known model types
    #[arg(long, exclusive = true)]
    list: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let Some(folder) = args.folder.as_ref().filter(|_| !args.list) else {
        return terminal.out(&(moec::model_types().join("\n") + "\n"));
    };
    let said = |error: ImportError| match error {
        ImportError::Internal(message) => Failure::Bug(message),
        error @ ImportError::Folder { .. } => Failure::input(error),
        error => Failure::Input(format!("{}: {error}", folder.display())),
    };
    let options = ImportOptions { layer: args.layer, read_as: args.read_as.clone() };
    let opened = Folder::open(folder).map_err(said)?;
    let imported = moec::import(opened.config(), &opened, &options).map_err(said)?;
    for warning in &imported.warnings {
        terminal.warning(warning);
    }
    let source = SourceFile::new("<imported>", imported.source);
    let diagnostics = match moec::check(&source, &Options::default()) {
        Ok((_, warnings)) => warnings,
        Err(moec::CompileError::Source(diagnostics)) => diagnostics,
        Err(error) => return Err(Failure::compile(error, &source, terminal)),
    };
    terminal.diagnostics(&diagnostics, &source);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::Bug("the importer wrote source that does not compile".to_owned()));
    }
    match &args.output {
        Some(path) => write(path, &source.text),
        None => terminal.out(&source.text),
    }
}
