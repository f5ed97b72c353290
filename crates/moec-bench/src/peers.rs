//! Other engines: a process each, which `tests/peers/contender.py` describes. Owns their start, the words they are
//! told and their end.

use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use moec_bench::{BenchError, Contender};
use serde::Deserialize;

/// Engines, and the modules of `tests/peers` that lead to them.
pub(crate) const ENGINES: [(&str, &str); 4] =
    [("transformers", "blocks"), ("onnxruntime", "ort"), ("openvino", "loop"), ("ggml", "graph")];

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// The folder of the scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers")
}

/// The interpreter of a virtual environment, which is made where it is not there yet.
pub(crate) fn python(venv: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let python = venv.join("bin/python");
    if !python.exists() {
        eprintln!("making {}: this downloads some gigabytes", venv.display());
        run(Command::new("python3").arg("-m").arg("venv").arg(venv))?;
        let wanted = scripts().join("requirements.txt");
        run(Command::new(&python).args(["-m", "pip", "install", "--requirement"]).arg(wanted))?;
    }
    Ok(python)
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// What an engine answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    refused: Option<String>,
    names: Vec<String>,
    seconds: Option<f64>,
}

/// An engine at work.
pub(crate) struct Engine {
    child: Child,
    words: ChildStdin,
    answers: Receiver<String>,
}

impl Engine {
    /// Starts one, which begins to load the layer of that description.
    pub(crate) fn start(python: &Path, engine: &str, layer: &Path) -> Result<Engine, Box<dyn Error>> {
        let log = File::create(layer.with_file_name(format!("{engine}.log")))?;
        let mut child = Command::new(python)
            .arg(scripts().join("contender.py"))
            .arg(engine)
            .arg(layer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let (words, lines) = (child.stdin.take(), child.stdout.take());
        let (Some(words), Some(lines)) = (words, lines) else { return Err("no pipes".into()) };
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut engine = Engine { child, words, answers };
        engine.tell(&["names"])?;
        Ok(engine)
    }

    fn tell(&mut self, words: &[&str]) -> std::io::Result<()> {
        writeln!(self.words, "{}", words.join("\t"))?;
        self.words.flush()
    }

    /// The answer to what it was told, or why there is none.
    fn answer(&mut self) -> Result<Answer, String> {
        let line = self.answers.recv_timeout(PATIENCE).map_err(|_| "it ended or hung".to_owned())?;
        let answer: Answer = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match answer.refused {
            Some(why) => Err(why),
            None => Ok(answer),
        }
    }

    /// Who can compute the layer, once it is loaded; or why nobody can.
    pub(crate) fn names(&mut self) -> Result<Vec<String>, String> {
        self.answer().map(|answer| answer.names)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One way of an engine to compute the layer.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) engine: Rc<RefCell<Engine>>,
}

impl Peer {
    fn ask(&self, word: &str, argument: &str) -> Result<Answer, String> {
        let mut engine = self.engine.borrow_mut();
        engine.tell(&[word, &self.name, argument]).map_err(|error| error.to_string())?;
        engine.answer()
    }

    /// Makes it ready for the inputs of a file.
    pub(crate) fn prepare(&self, inputs: &Path) -> Result<(), String> {
        self.ask("prepare", &inputs.display().to_string()).map(drop)
    }

    /// Has it write what it computes of the first input.
    pub(crate) fn output(&self, file: &Path) -> Result<(), String> {
        self.ask("output", &file.display().to_string()).map(drop)
    }
}

impl Contender for Peer {
    fn round(&mut self, calls: usize) -> Result<Option<f64>, BenchError> {
        Ok(self.ask("round", &calls.to_string()).ok().and_then(|answer| answer.seconds))
    }
}
