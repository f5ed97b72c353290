//! A layer on its way from a folder to numbers, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::interp::Tensor;
use moec::ir::{Module, Op, Sizes};
use moec::{
    Artifact, Folder, HostTensor, ImportOptions, Options, Pool, Session, Validation, WeightBytes,
    WeightSource, Weights, difference, to_oracle,
};

use crate::folder::{Golden, TOKENS};

/// The largest difference that is allowed, of the output's scale.
const LIMIT: f64 = 1e-5;

/// The same for the interpreter, which computes in f64 as the original did: the last bit of f32.
const LIMIT_OF_INTERPRETER: f64 = 1e-7;

/// A layer that was imported, compiled and run.
pub(crate) struct Layer {
    pub(crate) source: String,
    pub(crate) artifact: Artifact,
    /// Rules that made an operation of the program compiled.
    pub(crate) rules: BTreeSet<&'static str>,
    /// Largest differences from the original at any number of tokens.
    pub(crate) of_code: f64,
    of_interpreter: f64,
    /// Numbers of tokens at which other experts were chosen than those of the original.
    chosen_otherwise: Vec<u64>,
    /// Experts for a token, at most.
    slots: u64,
}

impl Layer {
    /// Imports, compiles and runs.
    pub(crate) fn of(golden: &Golden, pool: &Arc<Pool>) -> Result<Layer, String> {
        let folder = Folder::open(&golden.path).map_err(|error| error.to_string())?;
        let imported = moec::import(folder.config(), &folder, &ImportOptions::default());
        let imported = imported.map_err(|error| error.to_string())?;
        if !imported.warnings.is_empty() {
            return Err(format!("warnings: {:?}", imported.warnings));
        }
        let source = imported.source;
        let artifact = compile(&source)?;
        let module = &artifact.checked().ir;

        let weights = oracle_weights(module, &folder, pool);
        let mut code = Runner::new(&artifact, &folder, pool);
        let (mut of_code, mut of_interpreter) = (0.0, 0.0);
        for tokens in TOKENS {
            let inputs = inputs(module, golden, tokens);
            let expected = golden.expected(tokens);
            let y = code.run(module, &inputs).remove(0);
            of_code = f64::max(of_code, difference(&expected, &y.to_oracle().data));

            let mut all = weights.clone();
            all.extend(inputs.iter().map(|(name, tensor)| (name.clone(), tensor.to_oracle())));
            let outputs = moec::interp::run(module, &tokens_are(tokens), &all).map_err(|e| e.to_string())?;
            of_interpreter = f64::max(of_interpreter, difference(&expected, &outputs[0].1.data));
        }

        let telling = compile(&telling(&source))?;
        let module = &telling.checked().ir;
        let mut code = Runner::new(&telling, &folder, pool);
        let mut chosen_otherwise = Vec::new();
        let mut slots = 0;
        for tokens in TOKENS {
            let chosen = golden.chosen(tokens);
            let found = code.run(module, &inputs(module, golden, tokens)).remove(1);
            if found.shape() != chosen.shape() || found.bytes() != chosen.bytes() {
                chosen_otherwise.push(tokens);
            }
            let rows = chosen.bytes().chunks(chosen.shape()[1] as usize);
            slots = rows.map(|row| row.iter().map(|&b| u64::from(b)).sum()).fold(slots, u64::max);
        }

        let rules = artifact.report().after.iter().filter_map(|node| node.rule).collect();
        Ok(Layer { source, artifact, rules, of_code, of_interpreter, chosen_otherwise, slots })
    }

    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        must(self.of_code <= LIMIT, format!("the code differs by {:.2e}", self.of_code));
        must(
            self.of_interpreter <= LIMIT_OF_INTERPRETER,
            format!("the interpreter differs by {:.2e}", self.of_interpreter),
        );
        must(
            self.chosen_otherwise.is_empty(),
            format!("other experts are chosen at T = {:?}", self.chosen_otherwise),
        );
        must(
            moec::format(&self.source).is_ok_and(|text| text == self.source),
            "`moec fmt` would change the source".to_owned(),
        );
        let report = self.artifact.report();
        must(report.limit.is_none(), format!("saturation met the limit of {:?}", report.limit));
        must(report.fallback.is_none(), format!("not optimised: {:?}", report.fallback));
        must(
            matches!(self.artifact.validation(), Validation::Agreed { .. }),
            format!("validation: {:?}", self.artifact.validation()),
        );
        must(
            self.rows_per_token().is_some(),
            "experts are computed for tokens that are not routed to them".to_owned(),
        );
        must(
            self.scaled().is_none(),
            format!("rows as wide as a token are scaled: {}", self.scaled().unwrap_or_default()),
        );
        faults
    }

    /// Rows of routed products for a token, if experts compute the tokens routed to them and no others:
    /// a multiple of the experts for a token, beside no more plain products than router, shared expert,
    /// its gate and projections around the experts can be.
    pub(crate) fn rows_per_token(&self) -> Option<u64> {
        let tokens = TOKENS[2];
        let rows = self.artifact.plan().product_rows(&tokens_are(tokens)).unwrap();
        let each = tokens * self.slots;
        let is_sparse =
            rows.routed >= 2 * each && rows.routed.is_multiple_of(each) && rows.plain <= 7 * tokens;
        is_sparse.then_some(rows.routed / tokens)
    }

    /// A multiplication of rows as wide as a token, or as all of its pairs, by one number: it belongs
    /// to the weights of the experts chosen.
    fn scaled(&self) -> Option<String> {
        let module = self.artifact.module();
        let (_, _, x) = module.inputs().next()?;
        let width = x.shape.last()?;
        let is_number = |op: &moec::ir::Node| op.op == Op::Const;
        let found = module.iter().find(|(_, node)| {
            let wide =
                node.ty.tensor().is_some_and(|ty| ty.shape.len() == 2 && ty.shape.last() == Some(width));
            node.op == Op::Mul && wide && node.args.iter().any(|arg| is_number(module.node(*arg)))
        })?;
        Some(format!("%{}", found.0.index()))
    }
}

/// The source with a second output that says which experts were chosen.
fn telling(source: &str) -> String {
    let experts = if source.contains("dim N = E + Z") { "N" } else { "E" };
    let chosen = match source.contains("let chosen") {
        true => "any(one_hot(chosen, E), over K)",
        false => "g != 0",
    };
    let end = source.rfind('}').unwrap();
    format!("{}    output picked : bool[T, {experts}] = {chosen}\n}}\n", &source[..end])
}

fn compile(source: &str) -> Result<Artifact, String> {
    let file = SourceFile::new("source.moe", source);
    let artifact = moec::compile(&file, &Options::default(), &mut |_| ());
    let artifact = artifact.map_err(|error| format!("{error:?}\n{source}"))?;
    match artifact.checked().warnings.as_slice() {
        [] => Ok(artifact),
        warnings => Err(format!("{warnings:?}\n{source}")),
    }
}

fn tokens_are(tokens: u64) -> Sizes {
    [("T".into(), tokens)].into()
}

fn inputs(module: &Module, golden: &Golden, tokens: u64) -> Vec<(String, HostTensor)> {
    module.inputs().map(|(_, name, _)| (name.to_owned(), golden.input(name, tokens))).collect()
}

/// Weights of the folder as the interpreter holds them.
fn oracle_weights(module: &Module, folder: &Folder, pool: &Pool) -> BTreeMap<String, Tensor> {
    let sizes = module.dims.sized().clone();
    let mut ignored = |_: &str, _: u64| ();
    let mut source = Weights::new(folder.weights(), 0, sizes.clone(), pool, &mut ignored);
    let mut weights = BTreeMap::new();
    for (id, name, ty) in module.weights() {
        let shape: Vec<u64> = ty.shape.iter().map(|dim| dim.eval(&sizes).unwrap()).collect();
        let bytes = match source.weight(name, module.node(id).attrs.str("from"), ty).unwrap() {
            WeightBytes::Whole(bytes) => bytes.to_vec(),
            WeightBytes::Parts(parts) => parts.iter().flat_map(|part| part.iter().copied()).collect(),
            WeightBytes::Made(_) => panic!("no tensor of the folder is the weight {name}"),
        };
        weights.insert(name.to_owned(), to_oracle(ty.dtype, &shape, &bytes));
    }
    weights
}

/// A program with the weights of a folder.
struct Runner {
    session: Session,
}

impl Runner {
    fn new(artifact: &Artifact, folder: &Folder, pool: &Arc<Pool>) -> Runner {
        let sizes = artifact.checked().ir.dims.sized().clone();
        let mut ignored = |_: &str, _: u64| ();
        let mut weights = Weights::new(folder.weights(), 0, sizes, pool, &mut ignored);
        let loaded = artifact.load(&mut weights, pool).unwrap();
        Runner { session: Session::new(loaded, Arc::clone(pool)) }
    }

    /// The outputs, in order.
    fn run(&mut self, module: &Module, inputs: &[(String, HostTensor)]) -> Vec<HostTensor> {
        let shapes: Vec<&[u64]> = inputs.iter().map(|(_, tensor)| tensor.shape()).collect();
        let shapes = self.session.output_shapes(&shapes).unwrap().to_vec();
        let dtype = |at: usize| module.node(module.outputs[at].value).ty.tensor().unwrap().dtype;
        let outputs = shapes.iter().enumerate();
        let mut outputs: Vec<HostTensor> =
            outputs.map(|(at, shape)| HostTensor::zeros(dtype(at), shape).unwrap()).collect();
        let arrays: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.array()).collect();
        let mut into: Vec<_> = outputs.iter_mut().map(HostTensor::array_mut).collect();
        self.session.run(&arrays, &mut into).unwrap();
        outputs
    }
}
