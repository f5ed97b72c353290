//! The kernels, as their types describe them.

use std::collections::BTreeMap;

use moec_interp::{Value, eval_node};
use moec_ir::{Attr, Attrs, Dim, Op};
use moec_plan::{
    Group, Groups, Index, Kernel, Load, Map, Pack, Place, Product, Reduce, ReduceOp, RowIndex, RowKind,
    RowOp, ScatterAdd, Seat,
};

use super::scalars::tensor;
use super::{Fault, Machine, Point};

impl Machine<'_> {
    pub(super) fn step(&mut self, kernel: &Kernel) -> Result<(), Fault> {
        match kernel {
            Kernel::Map(map) => self.map(map),
            Kernel::Reduce(reduce) => self.reduce(reduce),
            Kernel::Row(row) => self.row(row),
            Kernel::ScatterAdd(scatter) => self.scatter_add(scatter),
            Kernel::Seat(seat) => self.seat(seat),
            Kernel::Group(group) => self.group(group),
            Kernel::Pack(pack) => {
                self.pack(pack);
                Ok(())
            }
            Kernel::Product(product) => self.product(product),
        }
    }

    fn map(&mut self, map: &Map) -> Result<(), Fault> {
        let points = self.points(&map.shape);
        let values = self.columns(&map.scalars, &points, &[], &[map.value])?.remove(0);
        for (point, value) in points.iter().zip(values) {
            self.store(&map.out, point, value);
        }
        Ok(())
    }

    /// Points of `shape`, each with the values of its row of `len`.
    fn rows(
        &self,
        shape: &[Dim],
        len: &Dim,
        scalars: &moec_plan::Scalars,
        value: moec_plan::ScalarId,
    ) -> Result<Vec<(Point, Vec<f64>)>, Fault> {
        let all = self.points(&[shape, std::slice::from_ref(len)].concat());
        let values = self.columns(scalars, &all, &[], &[value])?.remove(0);
        let len = self.size(len) as usize;
        let row = |(at, point)| (point, values[at * len..(at + 1) * len].to_vec());
        Ok(self.points(shape).into_iter().enumerate().map(row).collect())
    }

    fn reduce(&mut self, reduce: &Reduce) -> Result<(), Fault> {
        let dtype = reduce.scalars.dtype(reduce.value);
        for (point, row) in self.rows(&reduce.shape, &reduce.len, &reduce.scalars, reduce.value)? {
            let op = match reduce.op {
                ReduceOp::Sum => Op::Sum,
                ReduceOp::Mean => Op::Mean,
                ReduceOp::Max => Op::Max,
                ReduceOp::Min => Op::Min,
                ReduceOp::Any => Op::Any,
                ReduceOp::All => Op::All,
                ReduceOp::Argmax => Op::Argmax,
            };
            let attrs = Attrs::new([("axis", Attr::Int(0))]);
            let row = tensor(dtype, vec![row.len()], row);
            let result = eval_node(op, &[&row], &attrs, &Default::default()).unwrap();
            let result = result.into_tensor().unwrap();
            assert_eq!(result.dtype, self.plan.buffer(reduce.out.buffer).dtype);
            self.store(&reduce.out, &point, result.data[0]);
        }
        Ok(())
    }

    fn row(&mut self, kernel: &RowOp) -> Result<(), Fault> {
        let dtype = kernel.scalars.dtype(kernel.value);
        for (point, row) in self.rows(&kernel.shape, &kernel.len, &kernel.scalars, kernel.value)? {
            let axis = ("axis", Attr::Int(0));
            let (op, attrs) = match &kernel.kind {
                RowKind::Softmax => (Op::Softmax, Attrs::new([axis])),
                RowKind::Cumsum { exclusive } => {
                    (Op::Cumsum, Attrs::new([axis, ("exclusive", (*exclusive).into())]))
                }
                RowKind::Argsort { descending } => {
                    (Op::Argsort, Attrs::new([axis, ("descending", (*descending).into())]))
                }
                RowKind::TopK { k, largest } => {
                    let k = Dim::constant(self.size(k));
                    (Op::TopK, Attrs::new([axis, ("k", k.into()), ("largest", (*largest).into())]))
                }
            };
            let row = tensor(dtype, vec![row.len()], row);
            let results = match eval_node(op, &[&row], &attrs, &Default::default()).unwrap() {
                Value::Route(route) => vec![route.index, route.value],
                value => vec![value.into_tensor().unwrap()],
            };
            assert_eq!(results.len(), kernel.out.len());
            for (result, out) in results.into_iter().zip(&kernel.out) {
                assert_eq!(result.dtype, self.plan.buffer(out.buffer).dtype);
                for (r, value) in result.data.into_iter().enumerate() {
                    self.store(out, &[point.as_slice(), &[r as u64]].concat(), value);
                }
            }
        }
        Ok(())
    }

    fn scatter_add(&mut self, kernel: &ScatterAdd) -> Result<(), Fault> {
        let along = |axis: &Dim| [kernel.outer.as_slice(), std::slice::from_ref(axis)].concat();
        let places = self.points(&along(&kernel.len));
        let updates = self.points(&along(&kernel.count));
        // Only what the base needs makes sense at its points; see the kernel.
        let base_only = kernel.scalars.needed_by(kernel.base);
        let base = self.columns(&base_only.0, &places, &[], &[base_only.1])?.remove(0);
        let mut result: BTreeMap<Point, f64> = places.into_iter().zip(base).collect();
        let columns = self.columns_of_updates(kernel, &updates)?;
        for ((point, index), update) in updates.iter().zip(&columns[0]).zip(&columns[1]) {
            let mut place = point.clone();
            *place.last_mut().unwrap() = *index as u64;
            *result.get_mut(&place).unwrap() += update;
        }
        for (place, value) in result {
            self.store(&kernel.out, &place, value);
        }
        Ok(())
    }

    fn columns_of_updates(&self, kernel: &ScatterAdd, points: &[Point]) -> Result<Vec<Vec<f64>>, Fault> {
        let mut columns = Vec::new();
        for id in [kernel.index, kernel.update] {
            let (scalars, id) = kernel.scalars.needed_by(id);
            columns.extend(self.columns(&scalars, points, &[], &[id])?);
        }
        Ok(columns)
    }

    /// The expert of each pair, by number; `experts` for dropped ones.
    fn chosen(&self, index: &Load, [tokens, slots]: [&Dim; 2], limit: u64) -> Result<Vec<u64>, Fault> {
        let points = self.points(&[tokens.clone(), slots.clone()]);
        let at = |point: Vec<u64>| {
            let expert = self.load(index, |index| match index {
                Index::Axis(axis) => point[axis],
                Index::Value(_) => panic!("an index of pairs is read by axes"),
            });
            if expert < 0.0 || expert >= limit as f64 { Err(Fault) } else { Ok(expert as u64) }
        };
        points.into_iter().map(at).collect()
    }

    fn seat(&mut self, seat: &Seat) -> Result<(), Fault> {
        let (experts, slots) = (self.size(&seat.experts), self.size(&seat.slots));
        let group = self.size(&seat.group);
        let limit = experts + u64::from(seat.drops);
        let chosen = self.chosen(&seat.index, [&seat.tokens, &seat.slots], limit)?;
        for (number, &expert) in chosen.iter().enumerate() {
            let (token, slot) = (number as u64 / slots, number as u64 % slots);
            let before = chosen.iter().enumerate().filter(|(other, e)| {
                let (t, s) = (*other as u64 / slots, *other as u64 % slots);
                let earlier = if seat.slots_first { (s, t) < (slot, token) } else { (t, s) < (token, slot) };
                **e == expert && t / group == token / group && earlier
            });
            let number = if expert == experts { -1.0 } else { before.count() as f64 };
            self.store(&seat.out, &[token, slot], number);
        }
        Ok(())
    }

    fn group(&mut self, group: &Group) -> Result<(), Fault> {
        let (experts, slots) = (self.size(&group.experts), self.size(&group.slots));
        let out = &group.out;
        let limit = experts + u64::from(out.drops);
        let mut of_expert: Vec<Vec<u64>> = vec![Vec::new(); experts as usize + 1];
        for (pair, expert) in
            self.chosen(&group.index, [&group.tokens, &group.slots], limit)?.into_iter().enumerate()
        {
            of_expert[expert as usize].push(pair as u64);
        }
        let mut row = 0;
        let mut of_token: BTreeMap<u64, u64> = BTreeMap::new();
        let mut touched = 0;
        for (expert, pairs) in of_expert.iter().enumerate() {
            self.write(out.offsets, expert as u64, row as f64);
            if !pairs.is_empty() && (expert as u64) < experts {
                self.write(out.touched, touched, expert as f64);
                touched += 1;
            }
            for &pair in pairs {
                let token = pair / slots;
                let expert = if expert as u64 == experts { 0 } else { expert };
                self.write(out.expert, row, expert as f64);
                self.write(out.token, row, token as f64);
                self.write(out.pair, row, pair as f64);
                // Plan rows come in ascending order, so each token's do too.
                let nth = of_token.entry(token).or_default();
                self.write(out.rows, token * slots + *nth, row as f64);
                *nth += 1;
                row += 1;
            }
        }
        self.write(out.touched, experts, touched as f64);
        assert_eq!(row, self.size(&out.total));
        Ok(())
    }

    fn pack(&mut self, pack: &Pack) {
        let count = |dims: &[Dim]| self.sizes(dims).iter().product::<u64>();
        let (groups, n, k) = (count(&pack.groups), count(&pack.n), count(&pack.k));
        let beside = pack.out.interleave;
        let of_out = [&pack.out.groups, &pack.out.n, &pack.out.k].map(|d| self.size(d));
        assert_eq!([groups, n, k * beside], [of_out[0], of_out[1] * beside, of_out[2]]);
        let columns = self.plan.panels.columns * beside;
        let panels = n.div_ceil(columns);
        for at in 0..groups * panels * k * columns {
            self.write(pack.out.buffer, at, 0.0);
        }
        let axes = [pack.groups.as_slice(), &pack.n, &pack.k].concat();
        for (at, point) in self.points(&axes).into_iter().enumerate() {
            let value = self.source(pack, &point);
            let (group, column, depth) = (at as u64 / k / n, at as u64 / k % n, at as u64 % k);
            let panel = (group * panels + column / columns) * k;
            self.write(pack.out.buffer, (panel + depth) * columns + column % columns, value);
        }
    }

    /// What a packing reads at a point of its axes.
    fn source(&self, pack: &Pack, point: &[u64]) -> f64 {
        let mut source = pack.source.clone();
        if let Place::Mapped { parts, .. } = self.plan.buffer(source.buffer).place {
            let size = self.plan.buffer(source.buffer).elements.eval(&self.sizes).unwrap() / parts;
            let part = pack.parts.map_or(point[0], |list| self.read(list, point[0]) as u64);
            assert!(part < parts, "part {part} of {parts}");
            source.offset.push(Dim::constant(part * size));
        }
        self.load(&source, |index| match index {
            Index::Axis(axis) => point[axis],
            Index::Value(_) => panic!("a packing reads by axes"),
        })
    }

    fn product(&mut self, product: &Product) -> Result<(), Fault> {
        let weight = &product.weights[0];
        let (n, k) = (self.size(&weight.n), self.size(&weight.k));
        for other in &product.weights {
            assert_eq!((&other.groups, &other.n, &other.k), (&weight.groups, &weight.n, &weight.k));
        }
        // Row, column, group, token, pair.
        let mut points: Vec<Point> = Vec::new();
        match &product.groups {
            Groups::Batch { count, rows } => {
                assert_eq!(self.size(count), self.size(&weight.groups));
                for group in 0..self.size(count) {
                    for row in 0..self.size(rows) {
                        points.extend((0..n).map(|column| vec![row, column, group, 0, 0]));
                    }
                }
            }
            Groups::Routed(routing) => {
                if product.cold.is_none() {
                    assert_eq!(self.size(&routing.experts), self.size(&weight.groups));
                }
                let kept = self.read(routing.offsets, self.size(&routing.experts)) as u64;
                for row in 0..kept {
                    let [expert, token, pair] = [routing.expert, routing.token, routing.pair]
                        .map(|buffer| self.read(buffer, row) as u64);
                    points.extend((0..n).map(|column| vec![row, column, expert, token, pair]));
                }
                // What is left of the memory must not matter.
                for row in kept..self.size(&routing.total) {
                    (0..n).for_each(|column| self.store(&product.out, &[row, column, 0], f64::NAN));
                }
            }
        }
        let mut accumulators = Vec::new();
        for number in 0..product.weights.len() {
            accumulators.push(points.iter().map(|p| self.dot(product, number, p, n, k)).collect());
        }
        let values = self.columns(&product.scalars, &points, &accumulators, &[product.value])?.remove(0);
        for (point, value) in points.iter().zip(values) {
            self.store(&product.out, &point[..3], value);
        }
        Ok(())
    }

    fn dot(&self, product: &Product, number: usize, point: &Point, n: u64, k: u64) -> f64 {
        let weight = &product.weights[number];
        let &[row, column, group, token, _] = point.as_slice() else { panic!("five axes") };
        let lhs = &product.lhs;
        let row = match lhs.row {
            RowIndex::Row => row,
            RowIndex::Token => token,
        };
        let start = self.offset(&lhs.offset)
            + group * self.size(&lhs.group_stride)
            + row * self.size(&lhs.row_stride);
        let (columns, beside) = (self.plan.panels.columns, weight.interleave);
        let slot = product.cold.as_ref().map_or(group as f64, |cold| self.read(cold.slots, group));
        if let Some(cold) = product.cold.as_ref().filter(|_| slot < 0.0) {
            let pack = &cold.packs[number];
            let axes = self.points(&[pack.n.as_slice(), &pack.k].concat());
            let of_column = |depth: u64| {
                let (at, depth) = (column * beside + depth % beside, depth / beside);
                self.source(pack, &[&[group], axes[(at * (k / beside) + depth) as usize].as_slice()].concat())
            };
            return (0..k).map(|depth| self.read(lhs.buffer, start + depth) * of_column(depth)).sum();
        }
        let group = slot as u64;
        let panel = (group * n.div_ceil(columns) + column / columns) * k;
        let mut sum = 0.0;
        for depth in 0..k {
            let group_of_depth = (panel + depth) / beside * columns + column % columns;
            let right = self.read(weight.buffer, group_of_depth * beside + depth % beside);
            sum += self.read(lhs.buffer, start + depth) * right;
        }
        sum
    }
}
