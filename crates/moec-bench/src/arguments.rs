//! What the command line asks for.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use moec_bench::{LAYERS, Layer, Types};

use crate::machine;

/// The help.
pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [OPTION]...

For each layer, type, routing, number of threads and number of tokens, rounds of calls alternate with probes
of memory and of arithmetic; the limit is what these allow. Figures are medians; rounds in which a probe is
off do not count. Nothing else should run meanwhile. Lists are separated by commas; without one, all are meant.

  --layer LIST      mixtral4, olmoe, qwen3, dsv2lite, toy
  --type LIST       f32, bf16 (input and hidden activation too), mixed (weights only)
  --routing LIST    uniform, sampled (as often as text chose the experts of OLMoE and Mixtral)
  --threads LIST    (1 and as many as there are cores)
  --tokens LIST     (1,4,32,256,1024), measured from the most to the fewest
  --rounds N        (9)
  --json            figures as JSON, one object a line

  --peers           against other engines, which are installed from PyPI: the same weights and inputs, outputs
                    compared first, strict turns, threads pinned. Cells are kept in docs/benchmarks.jsonl, of
                    which docs/benchmarks.md is made, with a plot for each machine; those of this machine that are
                    there are left out
  --again           measures those too
  --minutes N       begins no cell after so long
  --machine NAME    what this machine is called (model of the processor and number of cores)
  --venv FOLDER     where the engines are, or will be installed (target/peers)
  --page            measures nothing; makes page and plots of what there is
";

/// Which experts tokens choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Each as often as the others.
    Uniform,
    /// As often as text chose those of published models.
    Sampled,
}

impl Routing {
    pub(crate) const ALL: [Routing; 2] = [Routing::Uniform, Routing::Sampled];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Routing::Uniform => "uniform",
            Routing::Sampled => "sampled",
        }
    }
}

/// Which cells, and how.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) layers: Vec<Layer>,
    pub(crate) types: Vec<Types>,
    pub(crate) routings: Vec<Routing>,
    pub(crate) threads: Vec<usize>,
    pub(crate) tokens: Vec<u64>,
    pub(crate) rounds: usize,
    pub(crate) json: bool,
    pub(crate) peers: bool,
    pub(crate) page: bool,
    /// What this machine is called.
    pub(crate) machine: String,
    pub(crate) again: bool,
    pub(crate) time: Option<Duration>,
    pub(crate) venv: PathBuf,
}

impl Arguments {
    /// Reads the words of a command line, or says what is wrong with them.
    pub(crate) fn read(words: &[String]) -> Result<Arguments, String> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut arguments = Arguments {
            layers: LAYERS.to_vec(),
            types: Types::ALL.to_vec(),
            routings: Routing::ALL.to_vec(),
            threads: if cores > 1 { vec![1, cores] } else { vec![1] },
            tokens: vec![1, 4, 32, 256, 1024],
            rounds: 9,
            json: false,
            peers: false,
            page: false,
            machine: machine::this(),
            again: false,
            time: None,
            venv: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--layer" => arguments.layers = named(value()?, &LAYERS, |layer| layer.name)?,
                "--type" => arguments.types = named(value()?, &Types::ALL, |types| types.name())?,
                "--routing" => arguments.routings = named(value()?, &Routing::ALL, |routing| routing.name())?,
                "--threads" => arguments.threads = numbers(value()?)?,
                "--tokens" => arguments.tokens = numbers(value()?)?,
                "--rounds" => arguments.rounds = numbers(value()?)?.iter().sum::<usize>().max(1),
                "--json" => arguments.json = true,
                "--peers" => arguments.peers = true,
                "--page" => (arguments.peers, arguments.page) = (true, true),
                "--machine" => {
                    arguments.machine = value()?.clone();
                    machine::check(&arguments.machine)?;
                }
                "--again" => arguments.again = true,
                "--minutes" => {
                    let minutes = numbers(value()?)?.iter().sum::<f64>();
                    arguments.time = Duration::try_from_secs_f64(60.0 * minutes).ok();
                }
                "--venv" => arguments.venv = value()?.into(),
                other => return Err(format!("`{other}` is no option")),
            }
        }
        Ok(arguments)
    }
}

/// The values of a list of names.
fn named<T: Copy>(list: &str, all: &[T], name: impl Fn(&T) -> &str) -> Result<Vec<T>, String> {
    let find = |word: &str| {
        let known: Vec<&str> = all.iter().map(&name).collect();
        let found = all.iter().find(|value| name(value) == word).copied();
        found.ok_or_else(|| format!("`{word}` is none of {}", known.join(", ")))
    };
    list.split(',').map(find).collect()
}

fn numbers<T: FromStr>(list: &str) -> Result<Vec<T>, String> {
    list.split(',').map(|word| word.parse().map_err(|_| format!("`{word}` is no number"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn lists_say_which_cells() {
        let arguments = read("--layer olmoe,toy --type bf16 --threads 2 --tokens 1,32 --json").unwrap();
        assert_eq!(arguments.layers.iter().map(|layer| layer.name).collect::<Vec<_>>(), ["olmoe", "toy"]);
        assert_eq!((arguments.types, arguments.threads), (vec![Types::Bf16], vec![2]));
        assert_eq!((arguments.tokens, arguments.json, arguments.rounds), (vec![1, 32], true, 9));
        assert_eq!(arguments.machine, machine::this());
        assert_eq!(read("--peers --machine quick").unwrap().machine, "quick");
        let lines = ["--layer x", "--tokens many", "--rounds", "--fast", "--machine --"];
        let messages = lines.map(|line| read(line).unwrap_err());
        assert_eq!(
            messages,
            [
                "`x` is none of mixtral4, olmoe, qwen3, dsv2lite, toy",
                "`many` is no number",
                "--rounds needs a value",
                "`--fast` is no option",
                "\"--\" is no name of a machine",
            ]
        );
    }
}
