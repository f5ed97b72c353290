//! `moec tiles`: the matrix tiles that a product could be made of, what each reaches on this machine, and
//! which ones it is made of.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use moec::Pool;
use moec::ir::DType;
use moec::tiles::{Shape, TileFamily, TileOperands, TileSpec, family, shapes};
use moec_bench::{Probes, Rates, TileSpeed, tile_speeds};

use crate::arguments::{ModelArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::targets;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A tile multiplies some rows with a packed panel. Each is measured on one thread, with panels that stay
in the cache, in per cent of the peak of arithmetic, and with panels that come from memory, in per cent
of its bandwidth; both are probed beside it. Where a product has as many rows for a matrix as --rows
says, it is cut into tiles of the height that the last column names, and a lower one for what is left.

Examples:
  moec tiles --shape 2048,1024               K, N: length of the sums, columns
  moec tiles --shape 2048,1024 --type bf16
  moec tiles model.moe                       for every product of a source
  moec tiles --shape 64,64 --target x86_64-v3 --list")]
pub(crate) struct Args {
    /// A source, `.moe` or `.moir`, whose products are meant; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "shape", conflicts_with_all = ["shape", "type"])]
    file: Option<PathBuf>,

    /// Length of the sums and number of columns
    #[arg(long, value_name = "K,N", value_delimiter = ',', num_args = 1,
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shape: Vec<u64>,

    /// Element types: `mixed` has rows of f32 and panels of bf16
    #[arg(long, value_name = "TYPE", default_value = "f32",
          value_parser = PossibleValuesParser::new(["f32", "bf16", "mixed"]))]
    r#type: String,

    /// Numbers of rows to tell the heights for
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4,20,150",
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    rows: Vec<u64>,

    /// The machine whose tiles are meant; those of others are measured as far as this one runs them
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "host")]
    target: String,

    /// Measure nothing
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let target = targets::resolve(&args.target, terminal)?;
    let chosen = family(&target).map_err(|error| Failure::Usage(error.to_string()))?;
    let shapes = match (&args.file, &args.shape[..]) {
        (Some(file), _) => {
            let source = read_source(file)?;
            let options = moec::Options { target, ..options(&args.model, None, terminal)? };
            let artifact = moec::compile(&source, &options, &mut |_| ())
                .map_err(|error| Failure::compile(error, &source, terminal))?;
            shapes(&artifact)
        }
        (None, &[depth, columns]) => {
            let (row, element) = match &*args.r#type {
                "bf16" => (DType::Bf16, DType::Bf16),
                "mixed" => (DType::F32, DType::Bf16),
                _ => (DType::F32, DType::F32),
            };
            vec![Shape { operands: TileOperands::of(row, element, depth), depth, columns }]
        }
        _ => return Err(Failure::Usage("--shape takes two numbers, such as --shape 2048,1024".to_owned())),
    };
    if shapes.is_empty() {
        return terminal.out("the program has no products\n");
    }
    for shape in shapes {
        let tiles = list(&shape, chosen);
        if tiles.is_empty() {
            let TileOperands { row, element, .. } = shape.operands;
            terminal.out(&format!("no tile of {} multiplies {row} with {element}\n", chosen.name()))?;
            continue;
        }
        let speeds = if args.list { None } else { Some(measured(&tiles, &shape)?) };
        terminal.out(&table(args, &shape, chosen, &tiles, speeds.as_ref()))?;
    }
    Ok(())
}

/// Every tile for the shape, of the chosen family and of those that need less, without repetition.
fn list(shape: &Shape, chosen: TileFamily) -> Vec<TileSpec> {
    let mut tiles: Vec<TileSpec> = Vec::new();
    for family in TileFamily::ALL.into_iter().filter(|family| *family <= chosen) {
        for tile in family.tiles(shape.operands) {
            if !tiles.contains(&tile) {
                tiles.push(tile);
            }
        }
    }
    tiles
}

fn measured(tiles: &[TileSpec], shape: &Shape) -> Result<(Rates, Vec<TileSpeed>), Failure> {
    let pool = Pool::new(1).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))?;
    let probes = Probes::new(&pool).map_err(Failure::input)?;
    tile_speeds(tiles, shape, &probes)
        .map_err(|error| Failure::Input(format!("{error}; `--list` lists without measuring")))
}

fn table(
    args: &Args,
    shape: &Shape,
    chosen: TileFamily,
    tiles: &[TileSpec],
    speeds: Option<&(Rates, Vec<TileSpeed>)>,
) -> String {
    let Shape { operands, depth, columns } = shape;
    let TileOperands { row, element, .. } = operands;
    let mut text = format!("{row} rows, {element} panels, sums of {depth}, {columns} columns");
    if let Some((rates, _)) = speeds {
        let flops = rates.products(*row) / 1e9;
        let _ = write!(text, "; probes {flops:.0} GFLOP/s, {:.1} GB/s", rates.bytes / 1e9);
    }
    let _ = write!(text, "\n{:24} {:>4} {:>8} {:>7} {:>7}", "tile", "rows", "columns", "vectors", "panels");
    if speeds.is_some() {
        let _ = write!(text, " {:>9} {:>8} {:>7} {:>12}", "GFLOP/s", "of peak", "GB/s", "of bandwidth");
    }
    text += "  picked for rows\n";
    for (at, tile) in tiles.iter().enumerate() {
        let family = tile.family();
        let width = family.columns();
        let _ = write!(
            text,
            "{:24} {:>4} {width:>8} {:>7} {:>7}",
            tile.name(),
            tile.rows(),
            width / family.lanes(),
            (*columns as usize).div_ceil(width)
        );
        if let Some((rates, speeds)) = speeds {
            let speed = &speeds[at];
            let peak = 100.0 * speed.flops / rates.products(*row);
            let bandwidth = 100.0 * speed.bytes / rates.bytes;
            let (flops, bytes) = (speed.flops / 1e9, speed.bytes / 1e9);
            let _ = write!(text, " {flops:>9.1} {peak:>7.0}% {bytes:>7.1} {bandwidth:>11.0}%");
        }
        let is_picked = |rows: &&u64| {
            chosen.tile(*operands, chosen.height_for(*operands, **rows as usize)) == Some(*tile)
        };
        let picked: Vec<String> = args.rows.iter().filter(is_picked).map(|rows| rows.to_string()).collect();
        let _ = writeln!(text, "  {}", picked.join(", "));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
