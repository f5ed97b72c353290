//! `moec diff`: whether two programs compute the same function.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use moec::interp::Tensor;
use moec::ir::{DType, Dim, Module};
use moec::{
    Counterexample, Diff, DiffError, DiffOptions, Numerics, Options, Unknown, Verdict, diff, rule_infos,
};
use serde_json::{Value, json};

use crate::arguments::setting;
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

/// Tensors with more elements are not printed in full.
const MOST_ELEMENTS: usize = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inputs and outputs must have the same names and types. Weights are the same when they name the same
tensors of a file, however they are declared; what the dims are called does not matter.

Exit codes: 0 proved equal; 1 different, with data that shows it; 3 unknown; 2 nothing was
compared: a source is wrong, or the programs have different interfaces.

Examples:
  moec diff before.moe after.moe
  moec diff models.moe models.moe --model-a dense --model-b sparse
  moec diff a.moe b.moe --numerics bit         equal to the last bit
  moec diff a.moe b.moe --json | jq .data")]
pub(crate) struct Args {
    /// The first source, `.moe` or `.moir`; `-` is standard input
    #[arg(value_name = "A")]
    a: PathBuf,

    /// The second source
    #[arg(value_name = "B")]
    b: PathBuf,

    /// The model of the first source, where it has several
    #[arg(long, value_name = "NAME")]
    model_a: Option<String>,

    /// The model of the second source, where it has several
    #[arg(long, value_name = "NAME")]
    model_b: Option<String>,

    /// Gives a param or a sized dim of both another value; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// How far bits may move between programs that count as equal
    #[arg(long, value_name = "CLASS", default_value = "reassociate",
          value_parser = PossibleValuesParser::new(Numerics::ALL.map(Numerics::name)))]
    numerics: String,

    /// The seed of random data
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let numerics = Numerics::from_name(&args.numerics).unwrap_or(Numerics::Reassociate);
    let (first, second) =
        (program(args, &args.a, &args.model_a, terminal), program(args, &args.b, &args.model_b, terminal));
    // Both are read before either is given up, so that both are spoken of.
    let (first, second) = (first?, second?);
    let options = DiffOptions { numerics, seed: args.seed };
    let found = diff(&first, &second, &options).map_err(|error| match error {
        DiffError::Interface(lines) => {
            Failure::Usage(format!("the programs cannot be compared\n  {}", lines.join("\n  ")))
        }
        error @ DiffError::Internal(_) => Failure::Bug(error.to_string()),
    })?;
    if args.json {
        terminal.out(&format!("{}\n", account(&found, numerics, [&first, &second])))?;
    } else {
        found.notes.iter().for_each(|note| terminal.note(&format!("note: {note}")));
        terminal.out(&text(&found, numerics, [&first, &second]))?;
    }
    match found.verdict {
        Verdict::Proved { .. } => Ok(()),
        Verdict::Different(_) => Err(Failure::Ended(1)),
        Verdict::Unknown(_) => Err(Failure::Ended(3)),
    }
}

/// One of the programs. Whatever is wrong with it, nothing was compared.
fn program(args: &Args, path: &Path, model: &Option<String>, terminal: &Terminal) -> Result<Module, Failure> {
    let read = || {
        let source = read_source(path)?;
        let set = args.set.iter().cloned().collect();
        let options = Options { model: model.clone(), set, ..Options::default() };
        let checked = moec::front(&source, &options, &mut |_| ())
            .map_err(|error| Failure::compile(error, &source, terminal))?;
        terminal.diagnostics(&checked.warnings, &source);
        Ok(checked.ir)
    };
    read().map_err(|failure| match failure {
        Failure::Said => Failure::Ended(2),
        Failure::Input(message) => Failure::Usage(message),
        other => other,
    })
}

fn text(found: &Diff, numerics: Numerics, programs: [&Module; 2]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match &found.verdict {
        Verdict::Proved { rules, minimal } => proved(&mut text, rules, *minimal, numerics),
        Verdict::Different(example) => different(&mut text, example, programs),
        Verdict::Unknown(unknown) => undecided(&mut text, unknown, numerics, programs),
    };
    text
}

fn proved(text: &mut String, rules: &[&str], minimal: bool, numerics: Numerics) -> std::fmt::Result {
    let class = numerics.name();
    match (rules.len(), minimal) {
        (0, _) => return writeln!(text, "proved: both are the same program"),
        (n, true) => {
            writeln!(text, "proved: equal in class `{class}`, by {} that are all needed", count(n, "rule"))?
        }
        (n, false) => writeln!(text, "proved: equal in class `{class}`, by {}", count(n, "rule"))?,
    }
    let width = rules.iter().map(|rule| rule.len()).max().unwrap_or(0);
    let infos = rule_infos();
    for rule in rules {
        let doc = infos.iter().find(|info| info.name == *rule).map_or("", |info| info.doc.trim());
        writeln!(text, "    {rule:width$}  {doc}")?;
    }
    Ok(())
}

fn different(text: &mut String, example: &Counterexample, programs: [&Module; 2]) -> std::fmt::Result {
    let (name, [first, second]) = place(example);
    writeln!(text, "different: {name} is {first} in the first program and {second} in the second\n")?;
    shown(text, example, programs)
}

fn undecided(
    text: &mut String,
    unknown: &Unknown,
    numerics: Numerics,
    programs: [&Module; 2],
) -> std::fmt::Result {
    let class = numerics.name();
    let open = unknown.open.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    write!(text, "unknown: no rules of class `{class}` prove {open} equal")?;
    match unknown.probes {
        0 => writeln!(text, ", and the programs are too large for the interpreter")?,
        n => writeln!(text, ", and no difference was found on {}", count(n, "input"))?,
    }
    if let Some(limit) = unknown.limit {
        writeln!(text, "    the proof was given up at the limit of {limit}")?;
    }
    if let Some(example) = &unknown.undefined {
        let (name, [first, second]) = place(example);
        writeln!(
            text,
            "\nbut {name} is {first} in the first program and {second} in the second, and class `{class}` \
             promises nothing for data that is not finite:\n"
        )?;
        shown(text, example, programs)?;
    }
    Ok(())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Where the programs differ, and what they say there.
fn place(example: &Counterexample) -> (String, [String; 2]) {
    let pair = &example.outputs[example.output];
    let flat = example.index.iter().zip(&pair.first.shape).fold(0, |at, (index, size)| at * size + index);
    let [a, b] = [pair.first.data[flat], pair.second.data[flat]];
    let short = [number(a), number(b)];
    let texts = if short[0] == short[1] { [a.to_string(), b.to_string()] } else { short };
    let index: Vec<String> = example.index.iter().map(usize::to_string).collect();
    let place = if index.is_empty() { String::new() } else { format!("[{}]", index.join(", ")) };
    (format!("`{}`{place}", pair.name), texts)
}

fn shown(text: &mut String, example: &Counterexample, programs: [&Module; 2]) -> std::fmt::Result {
    let sizes: Vec<String> = example.sizes.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    if !sizes.is_empty() {
        writeln!(text, "at {}", sizes.join(", "))?;
    }
    let declared: Vec<String> = (example.sizes.iter())
        .filter_map(|(name, found)| {
            let declared = programs.iter().find_map(|program| program.dims.value(&Dim::symbol(name)))?;
            (declared != *found).then(|| format!("{name} = {declared}"))
        })
        .collect();
    if !declared.is_empty() {
        writeln!(
            text,
            "    made small, and shown at these sizes only; declared are {}",
            declared.join(", ")
        )?;
    }
    // In the order in which the programs declare them.
    let mut names: Vec<&str> = Vec::new();
    for program in programs {
        for (_, name, _) in program.inputs().chain(program.weights()) {
            if example.data.contains_key(name) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let rest = example.data.keys().map(String::as_str).filter(|name| !names.contains(name));
    let rest: Vec<&str> = rest.collect();
    names.extend(rest);
    let zero = |name: &&str| example.data[*name].data.iter().all(|&x| x == 0.0);
    let (zeros, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(zero);
    let pairs = example.outputs.iter().flat_map(|pair| {
        [(format!("first {}", pair.name), &pair.first), (format!("second {}", pair.name), &pair.second)]
    });
    let outputs: Vec<(String, &Tensor)> = pairs.collect();
    let width =
        others.iter().copied().chain(outputs.iter().map(|(name, _)| name.as_str())).map(str::len).max();
    let width = width.unwrap_or(0);
    for name in others {
        writeln!(text, "    {name:width$}  {}", tensor(&example.data[name]))?;
    }
    if !zeros.is_empty() {
        writeln!(text, "    all zero: {}", zeros.join(", "))?;
    }
    writeln!(text, "gives")?;
    for (name, value) in outputs {
        writeln!(text, "    {name:width$}  {}", tensor(value))?;
    }
    Ok(())
}

/// A number to six digits.
fn number(x: f64) -> String {
    let short: f64 = format!("{x:.5e}").parse().unwrap_or(x);
    match short.abs() {
        size if size.is_finite() && size != 0.0 && !(1e-4..1e7).contains(&size) => format!("{short:e}"),
        _ => short.to_string(),
    }
}

/// Nested lists; one number for many that are the same.
fn tensor(tensor: &Tensor) -> String {
    let show = |x: f64| match tensor.dtype {
        DType::Bool => (x != 0.0).to_string(),
        _ => number(x),
    };
    let uniform =
        tensor.data.first().filter(|&&first| tensor.data.iter().all(|x| x.to_bits() == first.to_bits()));
    if let (Some(&x), true) = (uniform, tensor.data.len() > 1) {
        return format!("all {}", show(x));
    }
    if tensor.data.len() > MOST_ELEMENTS {
        let some: Vec<String> = tensor.data.iter().take(8).map(|&x| show(x)).collect();
        return format!("{:?}, begins with {}", tensor.shape, some.join(", "));
    }
    nested(&tensor.shape, &tensor.data, &show)
}

fn nested(shape: &[usize], data: &[f64], show: &dyn Fn(f64) -> String) -> String {
    let Some((&size, inner)) = shape.split_first() else { return data.iter().map(|&x| show(x)).collect() };
    let step = inner.iter().product::<usize>();
    let parts = (0..size).map(|i| nested(inner, &data[i * step..(i + 1) * step], show));
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

/// The verdict for scripts.
fn account(found: &Diff, numerics: Numerics, programs: [&Module; 2]) -> Value {
    let [first, second] = programs.map(|program| program.name.to_string());
    let mut report = json!({
        "first": first, "second": second, "numerics": numerics.name(), "notes": found.notes,
    });
    let more = match &found.verdict {
        Verdict::Proved { rules, minimal } => {
            json!({ "verdict": "proved", "rules": rules, "all_needed": minimal })
        }
        Verdict::Different(found) => {
            let mut more = example(found);
            more["verdict"] = "different".into();
            more
        }
        Verdict::Unknown(unknown) => json!({
            "verdict": "unknown",
            "open": unknown.open,
            "limit": unknown.limit,
            "inputs_tried": unknown.probes,
            "undefined": unknown.undefined.as_deref().map(example),
        }),
    };
    if let (Value::Object(report), Value::Object(more)) = (&mut report, more) {
        report.extend(more);
    }
    report
}

/// Data and outputs. What JSON has no number for (NaN, infinity) is a string.
fn example(example: &Counterexample) -> Value {
    let tensor = |tensor: &Tensor| {
        let element = |&x: &f64| if x.is_finite() { json!(x) } else { json!(x.to_string()) };
        let data: Vec<Value> = tensor.data.iter().map(element).collect();
        json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data": data })
    };
    let sizes: serde_json::Map<String, Value> =
        example.sizes.iter().map(|(name, &value)| (name.to_string(), value.into())).collect();
    let data: serde_json::Map<String, Value> =
        example.data.iter().map(|(name, value)| (name.clone(), tensor(value))).collect();
    let outputs: Vec<Value> = (example.outputs.iter())
        .map(
            |pair| json!({ "name": pair.name, "first": tensor(&pair.first), "second": tensor(&pair.second) }),
        )
        .collect();
    let output = &example.outputs[example.output].name;
    json!({ "sizes": sizes, "data": data, "outputs": outputs, "output": output, "index": example.index })
}
