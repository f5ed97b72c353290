//! Cell by cell: a layer is compiled and loaded once for each type, and called with every routing, number of
//! threads and number of tokens.

use std::error::Error;
use std::sync::Arc;

use moec::Pool;
use moec_bench::{Probes, Row, measure, table};
use serde::Serialize;

use crate::arguments::{Arguments, Routing};
use crate::ready::Ready;

/// Where a figure belongs.
#[derive(Debug, Serialize)]
struct Cell<'a> {
    layer: &'a str,
    #[serde(rename = "type")]
    types: &'a str,
    routing: &'a str,
    threads: usize,
    #[serde(flatten)]
    row: Row,
}

/// Measures and prints the cells that are wanted.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    for layer in &arguments.layers {
        for &types in &arguments.types {
            let ready = Ready::new(layer, types)?;
            if !arguments.json {
                println!("{} {}: {}", layer.name, types.name(), ready.phases);
            }
            for &threads in &arguments.threads {
                let pool = Arc::new(Pool::new(threads)?);
                let probes = Probes::new(&pool)?;
                for &routing in &arguments.routings {
                    measure_all(arguments, &ready, routing, &pool, &probes)?;
                }
            }
        }
    }
    Ok(())
}

fn measure_all(
    arguments: &Arguments,
    ready: &Ready<'_>,
    routing: Routing,
    pool: &Arc<Pool>,
    probes: &Probes,
) -> Result<(), Box<dyn Error>> {
    let (layer, types, threads) = (ready.layer.name, ready.types.name(), pool.threads());
    let mut rows = Vec::new();
    for tokens in ready.layer.tokens(&arguments.tokens) {
        let (mut caller, work) = ready.caller(&ready.inputs(routing, tokens)?, pool)?;
        rows.push(measure(&mut caller, tokens, &work, probes, arguments.rounds)?);
    }
    // Figures are read from the fewest tokens to the most.
    rows.reverse();
    if arguments.json {
        for row in rows {
            let cell = Cell { layer, types, routing: routing.name(), threads, row };
            println!("{}", serde_json::to_string(&cell)?);
        }
    } else {
        let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        println!("{}", table(&format!("{layer} {types}, {} routing, {threads}", routing.name()), &rows));
    }
    Ok(())
}
