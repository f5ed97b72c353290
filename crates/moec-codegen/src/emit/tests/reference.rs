//! What a plan means, as plain loops: a slow evaluator of kernels on buffers of bytes.

use half::{bf16, f16};
use moec_ir::{DType, Dim, Op, Sizes};
use moec_plan::{
    BufferId, Group, Groups, Index, Kernel, Load, Map, Pack, Plan, Product, Reduce, ReduceOp, RowIndex,
    RowKind, RowOp, Scalar, ScalarId, Scalars, ScatterAdd, Seat, Store,
};

/// An element. 16-bit floats are held widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Element {
    Float(f32),
    Int(i32),
    Bool(bool),
}

use Element::{Bool, Float, Int};

impl Element {
    pub(super) fn float(self) -> f32 {
        match self {
            Float(x) => x,
            Int(x) => x as f32,
            Bool(x) => f32::from(u8::from(x)),
        }
    }

    pub(super) fn int(self) -> i32 {
        match self {
            Float(x) => x as i32,
            Int(x) => x,
            Bool(x) => i32::from(x),
        }
    }

    fn truth(self) -> bool {
        match self {
            Float(x) => x != 0.0,
            Int(x) => x != 0,
            Bool(x) => x,
        }
    }

    fn cast(self, dtype: DType) -> Element {
        match dtype {
            DType::F32 => Float(self.float()),
            DType::Bf16 => Float(bf16::from_f32(self.float()).to_f32()),
            DType::F16 => Float(f16::from_f32(self.float()).to_f32()),
            DType::I32 => Int(self.int()),
            DType::U8 => Int(self.int().clamp(0, 255)),
            DType::Bool => Bool(self.truth()),
        }
    }
}

pub(super) fn read(bytes: &[u8], dtype: DType, at: usize) -> Element {
    let size = dtype.bytes();
    let bytes = &bytes[at * size..(at + 1) * size];
    match dtype {
        DType::F32 => Float(f32::from_le_bytes(bytes.try_into().unwrap())),
        DType::I32 => Int(i32::from_le_bytes(bytes.try_into().unwrap())),
        DType::Bf16 => Float(bf16::from_le_bytes(bytes.try_into().unwrap()).to_f32()),
        DType::F16 => Float(f16::from_le_bytes(bytes.try_into().unwrap()).to_f32()),
        DType::U8 => Int(bytes[0].into()),
        DType::Bool => Bool(bytes[0] != 0),
    }
}

pub(super) fn write(bytes: &mut [u8], dtype: DType, at: usize, element: Element) {
    let size = dtype.bytes();
    let bytes = &mut bytes[at * size..(at + 1) * size];
    match dtype {
        DType::F32 => bytes.copy_from_slice(&element.float().to_le_bytes()),
        DType::I32 => bytes.copy_from_slice(&element.int().to_le_bytes()),
        DType::Bf16 => bytes.copy_from_slice(&bf16::from_f32(element.float()).to_le_bytes()),
        DType::F16 => bytes.copy_from_slice(&f16::from_f32(element.float()).to_le_bytes()),
        DType::U8 => bytes[0] = element.int() as u8,
        DType::Bool => bytes[0] = u8::from(element.truth()),
    }
}

/// Buffers, sizes, and whether a fault was met.
pub(super) struct Machine<'p> {
    pub(super) plan: &'p Plan,
    pub(super) sizes: Sizes,
    pub(super) buffers: Vec<Vec<u8>>,
    pub(super) fault: bool,
    /// Whether a product and its sum are rounded together.
    pub(super) fma: bool,
}

impl Machine<'_> {
    fn size(&self, dim: &Dim) -> usize {
        usize::try_from(dim.eval(&self.sizes).unwrap()).unwrap()
    }

    fn offset(&self, dims: &[Dim]) -> usize {
        dims.iter().map(|dim| self.size(dim)).sum()
    }

    fn shape(&self, dims: &[Dim]) -> Vec<usize> {
        dims.iter().map(|dim| self.size(dim)).collect()
    }

    fn get(&self, buffer: BufferId, at: usize) -> Element {
        let dtype = self.plan.buffer(buffer).dtype;
        if self.fault {
            // Where the size is zero the index 0 is out of range too.
            return Float(0.0).cast(dtype);
        }
        read(&self.buffers[buffer.0 as usize], dtype, at)
    }

    fn set(&mut self, buffer: BufferId, at: usize, element: Element) {
        let dtype = self.plan.buffer(buffer).dtype;
        write(&mut self.buffers[buffer.0 as usize], dtype, at, element);
    }

    fn place(&self, store: &Store, point: &[usize]) -> usize {
        let strides = store.strides.iter().zip(point);
        self.offset(&store.offset) + strides.map(|(stride, at)| self.size(stride) * at).sum::<usize>()
    }

    fn store(&mut self, store: &Store, point: &[usize], element: Element) {
        let at = self.place(store, point);
        self.set(store.buffer, at, element);
    }

    fn load(&mut self, scalars: &Scalars, load: &Load, point: &[usize]) -> Element {
        let mut at = self.offset(&load.offset);
        for (index, stride) in &load.terms {
            let index = match index {
                Index::Axis(axis) => point[*axis],
                Index::Value(id) => self.eval(scalars, *id, point, &[]).int() as usize,
            };
            at += index * self.size(stride);
        }
        self.get(load.buffer, at)
    }

    fn eval(&mut self, scalars: &Scalars, id: ScalarId, point: &[usize], sums: &[f32]) -> Element {
        match scalars.get(id).clone() {
            Scalar::Load(load) => self.load(scalars, &load, point),
            Scalar::Iota(axis) => Int(point[axis] as i32),
            Scalar::Size(dim) => Int(self.size(&dim) as i32),
            Scalar::Const(DType::I32, number) => Int(number.get() as i32),
            Scalar::Const(dtype, number) => Float(number.get() as f32).cast(dtype),
            Scalar::Cast(dtype, x) => self.eval(scalars, x, point, sums).cast(dtype),
            Scalar::Accumulator(n) => Float(sums[n]),
            Scalar::InRange(x, size) => {
                let x = self.eval(scalars, x, point, sums).int();
                if x < 0 || x as usize >= self.size(&size) {
                    self.fault = true;
                    return Int(0);
                }
                Int(x)
            }
            Scalar::Apply(op, args) => {
                let args: Vec<_> = args.iter().map(|arg| self.eval(scalars, *arg, point, sums)).collect();
                apply(op, &args)
            }
        }
    }

    pub(super) fn step(&mut self, kernel: &Kernel) {
        match kernel {
            Kernel::Map(map) => self.map(map),
            Kernel::Reduce(reduce) => self.reduce(reduce),
            Kernel::Row(row) => self.row(row),
            Kernel::ScatterAdd(scatter) => self.scatter_add(scatter),
            Kernel::Seat(seat) => self.seat(seat),
            Kernel::Group(group) => self.group(group),
            Kernel::Pack(pack) => self.pack(pack),
            Kernel::Product(product) => self.product(product),
        }
    }

    fn map(&mut self, map: &Map) {
        for point in points(&self.shape(&map.shape)) {
            let value = self.eval(&map.scalars, map.value, &point, &[]);
            self.store(&map.out, &point, value);
        }
    }

    fn line(&mut self, scalars: &Scalars, value: ScalarId, point: &[usize], len: &Dim) -> Vec<Element> {
        let len = self.size(len);
        (0..len).map(|r| self.eval(scalars, value, &[point, &[r]].concat(), &[])).collect()
    }

    fn reduce(&mut self, reduce: &Reduce) {
        for point in points(&self.shape(&reduce.shape)) {
            let line = self.line(&reduce.scalars, reduce.value, &point, &reduce.len);
            let floats = reduce.scalars.dtype(reduce.value) == DType::F32;
            let total: f64 = line.iter().map(|x| f64::from(x.float())).sum();
            let wrapped = line.iter().fold(0i32, |sum, x| sum.wrapping_add(x.int()));
            let result = match reduce.op {
                ReduceOp::Sum if floats => Float(total as f32),
                ReduceOp::Sum => Int(wrapped),
                ReduceOp::Mean => Float((total / line.len() as f64) as f32),
                ReduceOp::Max if floats => {
                    Float(line.iter().fold(f32::NEG_INFINITY, |m, x| maximum(m, x.float())))
                }
                ReduceOp::Min if floats => {
                    Float(line.iter().fold(f32::INFINITY, |m, x| -maximum(-m, -x.float())))
                }
                ReduceOp::Max => Int(line.iter().fold(i32::MIN, |m, x| m.max(x.int()))),
                ReduceOp::Min => Int(line.iter().fold(i32::MAX, |m, x| m.min(x.int()))),
                ReduceOp::Any => Bool(line.iter().any(|x| x.truth())),
                ReduceOp::All => Bool(line.iter().all(|x| x.truth())),
                ReduceOp::Argmax => {
                    let nan = |x: Element| x.float().is_nan();
                    let mut best = 0;
                    for r in 1..line.len() {
                        let (x, y) = (line[r], line[best]);
                        if !nan(y) && (nan(x) || key(x) > key(y)) {
                            best = r;
                        }
                    }
                    Int(best as i32)
                }
            };
            self.store(&reduce.out, &point, result);
        }
    }

    fn row(&mut self, row: &RowOp) {
        for point in points(&self.shape(&row.shape)) {
            let line = self.line(&row.scalars, row.value, &point, &row.len);
            let (first, second): (Vec<Element>, Vec<Element>) = match &row.kind {
                RowKind::Softmax => {
                    let max = line.iter().fold(f32::NEG_INFINITY, |m, x| maximum(m, x.float()));
                    let powers: Vec<f64> = line.iter().map(|x| f64::from(x.float() - max).exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    (powers.iter().map(|p| Float((p / sum) as f32)).collect(), Vec::new())
                }
                RowKind::Cumsum { exclusive } => (running_sums(&line, *exclusive), Vec::new()),
                RowKind::Argsort { descending } => {
                    (order(&line, *descending).iter().map(|&i| Int(i as i32)).collect(), Vec::new())
                }
                RowKind::TopK { k, largest } => {
                    let mut order = order(&line, *largest);
                    order.truncate(self.size(k));
                    (order.iter().map(|&i| Int(i as i32)).collect(), order.iter().map(|&i| line[i]).collect())
                }
            };
            for (out, results) in row.out.iter().zip([first, second]) {
                for (r, result) in results.iter().enumerate() {
                    self.store(out, &[&point[..], &[r]].concat(), *result);
                }
            }
        }
    }

    fn scatter_add(&mut self, scatter: &ScatterAdd) {
        let (len, count) = (self.size(&scatter.len), self.size(&scatter.count));
        for point in points(&self.shape(&scatter.outer)) {
            for s in 0..len {
                let place = [&point[..], &[s]].concat();
                let base = self.eval(&scatter.scalars, scatter.base, &place, &[]);
                self.store(&scatter.out, &place, base);
            }
            for m in 0..count {
                let from = [&point[..], &[m]].concat();
                let index = self.eval(&scatter.scalars, scatter.index, &from, &[]).int() as usize;
                let update = self.eval(&scatter.scalars, scatter.update, &from, &[]);
                if len > 0 {
                    let at = self.place(&scatter.out, &[&point[..], &[index]].concat());
                    let sum = apply(Op::Add, &[self.get(scatter.out.buffer, at), update]);
                    self.set(scatter.out.buffer, at, sum);
                }
            }
        }
    }

    /// The expert of each pair, by number; nothing if one is out of range, which is a fault.
    fn chosen(&mut self, index: &Load, tokens: usize, slots: usize, limit: usize) -> Option<Vec<usize>> {
        let mut chosen = Vec::new();
        for token in 0..tokens {
            for slot in 0..slots {
                let expert = self.load(&Scalars::default(), index, &[token, slot]).int();
                if expert < 0 || expert as usize >= limit {
                    self.fault = true;
                    return None;
                }
                chosen.push(expert as usize);
            }
        }
        Some(chosen)
    }

    fn seat(&mut self, seat: &Seat) {
        let [experts, tokens, slots, group] =
            [&seat.experts, &seat.tokens, &seat.slots, &seat.group].map(|dim| self.size(dim));
        let limit = experts + usize::from(seat.drops);
        let Some(chosen) = self.chosen(&seat.index, tokens, slots, limit) else { return };
        let mut order: Vec<usize> = (0..chosen.len()).collect();
        if seat.slots_first {
            order.sort_by_key(|pair| (pair % slots, pair / slots));
        }
        let mut seated: Vec<usize> = Vec::new();
        for pair in order {
            let token = pair / slots;
            let same = |p: &&usize| chosen[**p] == chosen[pair] && **p / slots / group == token / group;
            let before = seated.iter().filter(same).count() as i32;
            seated.push(pair);
            let number = if chosen[pair] == experts { -1 } else { before };
            self.store(&seat.out, &[token, pair % slots], Int(number));
        }
    }

    fn group(&mut self, group: &Group) {
        let (experts, tokens, slots) =
            (self.size(&group.experts), self.size(&group.tokens), self.size(&group.slots));
        let limit = experts + usize::from(group.out.drops);
        let Some(chosen) = self.chosen(&group.index, tokens, slots, limit) else { return };
        let mut pairs: Vec<(usize, usize)> =
            chosen.into_iter().enumerate().map(|(pair, expert)| (expert, pair)).collect();
        pairs.sort();
        for e in 0..=experts {
            let before = pairs.iter().filter(|(expert, _)| *expert < e).count();
            self.set(group.out.offsets, e, Int(before as i32));
        }
        let mut touched = 0;
        for e in 0..experts {
            // An expert without pairs is written over by the next one.
            self.set(group.out.touched, touched, Int(e as i32));
            touched += usize::from(pairs.iter().any(|(expert, _)| *expert == e));
        }
        self.set(group.out.touched, experts, Int(touched as i32));
        let mut found = vec![0; tokens];
        for (row, (expert, pair)) in pairs.iter().enumerate() {
            let token = pair / slots;
            let expert = if *expert == experts { 0 } else { *expert };
            self.set(group.out.expert, row, Int(expert as i32));
            self.set(group.out.token, row, Int(token as i32));
            self.set(group.out.pair, row, Int(*pair as i32));
            self.set(group.out.rows, token * slots + found[token], Int(row as i32));
            found[token] += 1;
        }
    }

    fn pack(&mut self, pack: &Pack) {
        let columns = (self.plan.panels.columns * pack.out.interleave) as usize;
        let [groups, ns, ks] = [&pack.groups, &pack.n, &pack.k].map(|dims| points(&self.shape(dims)));
        let panels = ns.len().div_ceil(columns);
        for (g, group) in groups.iter().enumerate() {
            for column in 0..panels * columns {
                for (row, k) in ks.iter().enumerate() {
                    let element = match ns.get(column) {
                        Some(n) => {
                            let point = [&group[..], n, k].concat();
                            self.load(&Scalars::default(), &pack.source, &point)
                        }
                        None => Float(0.0),
                    };
                    let panel = g * panels + column / columns;
                    self.set(pack.out.buffer, (panel * ks.len() + row) * columns + column % columns, element);
                }
            }
        }
    }

    fn product(&mut self, product: &Product) {
        let columns = self.plan.panels.columns as usize;
        let (n, k) = (self.size(&product.weights[0].n), self.size(&product.weights[0].k));
        let routed = matches!(product.groups, Groups::Routed(_));
        for (row, group, token, pair) in self.product_rows(&product.groups) {
            let at = if product.lhs.row == RowIndex::Token { token } else { row };
            let lhs = self.offset(&product.lhs.offset)
                + group * self.size(&product.lhs.group_stride)
                + at * self.size(&product.lhs.row_stride);
            for column in 0..n {
                let mut sums = Vec::new();
                for weight in &product.weights {
                    let panel = group * n.div_ceil(columns) + column / columns;
                    let mut sum = 0.0f32;
                    let beside = weight.interleave as usize;
                    for i in 0..k {
                        let line = (panel * k + i) / beside * columns + column % columns;
                        let w = self.get(weight.buffer, line * beside + i % beside).float();
                        let a = self.get(product.lhs.buffer, lhs + i).float();
                        sum = if self.fma { a.mul_add(w, sum) } else { a * w + sum };
                    }
                    sums.push(sum);
                }
                let point = [row, column, group, token, pair];
                let value = self.eval(&product.scalars, product.value, &point, &sums);
                let place = [row, column, if routed { 0 } else { group }];
                self.store(&product.out, &place, value);
            }
        }
    }

    /// Row, group, token and pair.
    fn product_rows(&self, groups: &Groups) -> Vec<(usize, usize, usize, usize)> {
        match groups {
            Groups::Batch { count, rows } => {
                let (count, rows) = (self.size(count), self.size(rows));
                (0..count).flat_map(|g| (0..rows).map(move |row| (row, g, 0, 0))).collect()
            }
            Groups::Routed(routing) => (0..self.get(routing.offsets, self.size(&routing.experts)).int()
                as usize)
                .map(|row| {
                    let at = |buffer| self.get(buffer, row).int() as usize;
                    (row, at(routing.expert), at(routing.token), at(routing.pair))
                })
                .collect(),
        }
    }
}

/// All points of a shape in row-major order.
pub(super) fn points(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |points, &size| {
        points.iter().flat_map(|p| (0..size).map(move |i| [&p[..], &[i]].concat())).collect()
    })
}

fn maximum(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// Numbers in order; NaN like minus infinity.
fn key(x: Element) -> f64 {
    match x {
        Float(x) if x.is_nan() => f64::NEG_INFINITY,
        Float(x) => f64::from(x),
        other => f64::from(other.int()),
    }
}

fn order(line: &[Element], descending: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..line.len()).collect();
    order.sort_by(|&a, &b| {
        let nan = |i: usize| line[i].float().is_nan();
        let (x, y) = (key(line[a]), key(line[b]));
        let by_value = if descending { y.total_cmp(&x) } else { x.total_cmp(&y) };
        let by_value = if x == y { std::cmp::Ordering::Equal } else { by_value };
        nan(a).cmp(&nan(b)).then(by_value)
    });
    order
}

fn running_sums(line: &[Element], exclusive: bool) -> Vec<Element> {
    let (mut float, mut int) = (0.0f32, 0i32);
    let mut sums = Vec::new();
    for x in line {
        let before = if matches!(x, Float(_)) { Float(float) } else { Int(int) };
        float += x.float();
        int = int.wrapping_add(x.int());
        let after = if matches!(x, Float(_)) { Float(float) } else { Int(int) };
        sums.push(if exclusive { before } else { after });
    }
    sums
}

fn apply(op: Op, args: &[Element]) -> Element {
    let float = matches!(args[args.len() - 1], Float(_));
    let [x, y] = [args[0].float(), args[args.len() - 1].float()];
    let [i, j] = [args[0].int(), args[args.len() - 1].int()];
    match op {
        Op::Select => return if args[0].truth() { args[1] } else { args[2] },
        Op::And => return Bool(args[0].truth() && args[1].truth()),
        Op::Or => return Bool(args[0].truth() || args[1].truth()),
        Op::Not => return Bool(!args[0].truth()),
        Op::Eq => return Bool(if float { x == y } else { i == j }),
        Op::Ne => return Bool(if float { x != y } else { i != j }),
        Op::Lt => return Bool(if float { x < y } else { i < j }),
        Op::Le => return Bool(if float { x <= y } else { i <= j }),
        Op::Gt => return Bool(if float { x > y } else { i > j }),
        Op::Ge => return Bool(if float { x >= y } else { i >= j }),
        _ => {}
    }
    if !float {
        return Int(match op {
            Op::Neg => i.wrapping_neg(),
            Op::Abs => i.wrapping_abs(),
            Op::Relu => i.max(0),
            Op::Add => i.wrapping_add(j),
            Op::Sub => i.wrapping_sub(j),
            Op::Mul => i.wrapping_mul(j),
            Op::FloorDiv => floor_div(i, j),
            Op::Mod => i.wrapping_sub(floor_div(i, j).wrapping_mul(j)),
            Op::Minimum => i.min(j),
            Op::Maximum => i.max(j),
            _ => panic!("{op}"),
        });
    }
    let d = f64::from(x);
    Float(match op {
        Op::Neg => -x,
        Op::Abs => x.abs(),
        Op::Exp => d.exp() as f32,
        Op::Exp2 => d.exp2() as f32,
        Op::Log => d.ln() as f32,
        Op::Sqrt => x.sqrt(),
        Op::Rsqrt => (1.0 / d.sqrt()) as f32,
        Op::Tanh => d.tanh() as f32,
        Op::Sigmoid => (1.0 / (1.0 + (-d).exp())) as f32,
        Op::Silu => (d / (1.0 + (-d).exp())) as f32,
        Op::Softplus => (d.max(0.0) + (-d.abs()).exp().ln_1p()) as f32,
        Op::Relu => maximum(x, 0.0),
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div => x / y,
        Op::Minimum => -maximum(-x, -y),
        Op::Maximum => maximum(x, y),
        _ => panic!("{op}"),
    })
}

/// In 64 bits, where nothing overflows, by the definition of Euclid corrected to the floor.
fn floor_div(x: i32, y: i32) -> i32 {
    let (x, y) = (i64::from(x), i64::from(y));
    let quotient = match y {
        0 => 0,
        1.. => x.div_euclid(y),
        _ => (-x).div_euclid(-y),
    };
    quotient as i32
}
