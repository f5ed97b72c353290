//! Cell by cell against other engines: everybody loads the same weights, computes the same inputs, and is timed in
//! turns if what it computes is right.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moec::ir::DType;
use moec::{Pool, WeightFiles};
use moec_bench::{Contender, Layer, Probes, Types, take_turns};

use crate::arguments::{Arguments, Routing};
use crate::book::{Book, Cell, Key, Standing};
use crate::page::publish;
use crate::peers::{ENGINES, Engine, Peer, python, run as run_command};
use crate::ready::{Ready, write_inputs};

/// Measures the cells that are wanted and not there yet, then makes the page.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut book = Book::open()?;
    if !arguments.page {
        book.admits(&arguments.machine)?;
        println!("machine: {}", arguments.machine);
        let python = python(&arguments.venv)?;
        for layer in &arguments.layers {
            for &types in &arguments.types {
                for &threads in &arguments.threads {
                    let cells = cells(arguments, &book, layer, types, threads);
                    let left = |time: Duration| time.saturating_sub(started.elapsed());
                    if !cells.is_empty() && arguments.time.is_none_or(|time| !left(time).is_zero()) {
                        let contest = Contest::new(&python, layer, types, threads, arguments)?;
                        contest.run(&cells, &mut book, &|| arguments.time.map(left))?;
                    }
                }
            }
        }
    }
    publish(&book, &arguments.venv)
}

/// The cells of a layer that are wanted, from the most tokens to the fewest.
fn cells(
    arguments: &Arguments,
    book: &Book,
    layer: &Layer,
    types: Types,
    threads: usize,
) -> Vec<(Routing, Key)> {
    let mut cells = Vec::new();
    for tokens in layer.tokens(&arguments.tokens) {
        for &routing in &arguments.routings {
            let words = [layer.name, types.name(), routing.name(), &arguments.machine];
            let [layer, types, chosen, machine] = words.map(str::to_owned);
            let key = Key { layer, types, routing: chosen, threads, tokens, machine };
            if arguments.again || !book.has(&key) {
                cells.push((routing, key));
            }
        }
    }
    cells
}

/// Everybody, with a layer loaded for as many threads.
struct Contest<'a> {
    ready: Ready<'a>,
    pool: Arc<Pool>,
    probes: Probes,
    rounds: usize,
    /// Of the machine.
    cores: usize,
    peers: Vec<Peer>,
    engines: Vec<u32>,
    /// Engines that cannot compute the layer, and why.
    refused: BTreeMap<String, String>,
    folder: PathBuf,
}

impl<'a> Contest<'a> {
    fn new(
        python: &Path,
        layer: &'a Layer,
        types: Types,
        threads: usize,
        arguments: &Arguments,
    ) -> Result<Contest<'a>, Box<dyn Error>> {
        let folder = arguments.venv.join("bench");
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        println!("{} {}, threads: {threads}", layer.name, types.name());
        let cores = std::thread::available_parallelism()?.get();
        let ready = Ready::new(layer, types)?;
        let weights = folder.join("weights.safetensors");
        ready.write_weights(&weights)?;
        let Layer { name, e, k, h, f, shared, renormalised, .. } = layer;
        let described = serde_json::json!({
            "name": name, "e": e, "k": k, "h": h, "f": f, "shared": shared, "renormalised": renormalised,
            "type": types.name(), "threads": threads, "weights": weights,
        });
        let description = folder.join("layer.json");
        fs::write(&description, described.to_string())?;
        let (mut peers, mut engines, mut refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (engine, module) in ENGINES {
            let mut started = Engine::start(python, module, &description)?;
            match started.names() {
                Ok(names) => {
                    engines.push(started.id());
                    let engine = Rc::new(RefCell::new(started));
                    peers.extend(names.into_iter().map(|name| Peer { name, engine: Rc::clone(&engine) }));
                }
                Err(why) => drop(refused.insert(engine.to_owned(), why)),
            }
        }
        fs::remove_file(weights)?;
        for (engine, why) in &refused {
            println!("  {engine} is left out: {why}");
        }
        let pool = Arc::new(Pool::new(threads)?);
        let probes = Probes::new(&pool)?;
        Ok(Contest { ready, probes, pool, rounds: arguments.rounds, cores, peers, engines, refused, folder })
    }

    fn run(
        mut self,
        cells: &[(Routing, Key)],
        book: &mut Book,
        left: &dyn Fn() -> Option<Duration>,
    ) -> Result<(), Box<dyn Error>> {
        for (routing, key) in cells {
            if left().is_some_and(|time| time.is_zero()) {
                println!("  the time is over");
                break;
            }
            book.add(self.cell(*routing, key.clone())?)?;
        }
        Ok(())
    }

    fn cell(&mut self, routing: Routing, key: Key) -> Result<Cell, Box<dyn Error>> {
        let inputs = self.ready.inputs(routing, key.tokens)?;
        let file = self.folder.join("inputs.safetensors");
        write_inputs(&file, &inputs)?;
        let (mut caller, work) = self.ready.caller(&inputs, &self.pool)?;
        let shape = [key.tokens, self.ready.layer.out()];
        let expected = floats(caller.first()?.first().ok_or("no output")?.bytes(), &shape);
        let mut refused = self.refused.clone();
        let mut able: Vec<&mut Peer> = Vec::new();
        for peer in &mut self.peers {
            let output = self.folder.join("output.safetensors");
            let found = peer.prepare(&file).and_then(|()| peer.output(&output));
            match found.and_then(|()| compare(&output, &shape, &expected, self.ready.types)) {
                Ok(()) => able.push(peer),
                Err(why) => drop(refused.insert(peer.name.clone(), why)),
            }
        }
        let names: Vec<String> = able.iter().map(|peer| peer.name.clone()).collect();
        let mut contenders: Vec<&mut dyn Contender> = vec![&mut caller];
        contenders.extend(able.into_iter().map(|peer| peer as &mut dyn Contender));
        pin(&self.engines, self.pool.threads())?;
        let rounds = take_turns(&mut contenders, &self.probes, self.rounds);
        pin(&self.engines, self.cores)?;
        let rounds = rounds?;
        let ours = rounds.row(0, key.tokens, &work).ok_or("no round of ours counts")?.rounded();
        let mut theirs = BTreeMap::new();
        for (at, name) in names.into_iter().enumerate() {
            match rounds.row(at + 1, key.tokens, &work) {
                Some(row) => drop(theirs.insert(name, Standing::from(row))),
                None => drop(refused.insert(name, "it gave up while it was timed".to_owned())),
            }
        }
        let shown: Vec<String> = theirs.iter().map(|(name, row)| format!("{name} {:.3}", row.ms)).collect();
        println!(
            "  {} {:>4} tokens: {:.3} ms, {:.0}% of the limit; {}",
            key.routing,
            key.tokens,
            ours.ms,
            ours.of_limit,
            shown.join(", ")
        );
        refused.iter().for_each(|(name, why)| println!("    without {name}: {why}"));
        Ok(Cell { key, ours, theirs, refused })
    }
}

/// Keeps every thread of these processes, and of this one, on the first cores.
fn pin(processes: &[u32], threads: usize) -> Result<(), Box<dyn Error>> {
    let cores = format!("0-{}", threads.max(1) - 1);
    for id in processes.iter().copied().chain([std::process::id()]) {
        let mut command = Command::new("taskset");
        run_command(command.args(["-a", "-c", "-p", &cores, &id.to_string()]).stdout(Stdio::null()))?;
    }
    Ok(())
}

/// Whether a file has what was expected, as far as the type allows.
fn compare(file: &Path, shape: &[u64], expected: &[f32], types: Types) -> Result<(), String> {
    // Engines round gates and partial results to bf16 at places of their own.
    let most = if types == Types::F32 { 1e-4 } else { 3e-2 };
    let files = WeightFiles::open(&[file]).map_err(|error| error.to_string())?;
    let found = files.get_typed("y", DType::F32, shape).map_err(|error| error.to_string())?;
    let found = floats(found.bytes, shape);
    let scale = expected.iter().fold(0f32, |scale, value| scale.max(value.abs()));
    let difference = expected.iter().zip(&found).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    // Not a number differs too.
    match difference <= most * scale && found.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(format!("its output differs by {:.1e} of the scale", difference / scale)),
    }
}

fn floats(bytes: &[u8], shape: &[u64]) -> Vec<f32> {
    let count = shape.iter().product::<u64>() as usize;
    bytes.as_chunks::<4>().0.iter().take(count).map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::cell;

    #[test]
    fn cells_of_other_machines_are_not_those_that_are_there() {
        let mut book = Book::default();
        book.insert(cell("one", 4, 8.0)).unwrap();
        let wanted = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let arguments = Arguments::read(&words).unwrap();
            let cells = cells(&arguments, &book, &arguments.layers[0], Types::F32, 1);
            assert!(cells.iter().all(|(_, key)| key.machine == arguments.machine));
            cells.into_iter().map(|(routing, key)| (key.tokens, routing.name())).collect::<Vec<_>>()
        };
        let line = "--peers --layer olmoe --tokens 1,32,4 --machine";
        let all = ["uniform", "sampled"].map(|routing| [32, 4, 1].map(|tokens| (tokens, routing)));
        let [uniform, sampled] = all;
        let together: Vec<_> = uniform.into_iter().zip(sampled).flat_map(|(a, b)| [a, b]).collect();
        assert_eq!(wanted(&format!("{line} two")), together);
        assert_eq!(wanted(&format!("{line} one --again")), together);
        assert_eq!(wanted(&format!("{line} one --routing uniform")), [(32, "uniform"), (1, "uniform")]);
        assert_eq!(wanted(&format!("{line} one --routing sampled")), sampled);
    }
}
