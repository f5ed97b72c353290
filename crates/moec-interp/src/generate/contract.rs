//! Contractions and routing plans.

use moec_ir::{Attr, DType, Dim, EinsumSpec, Number, Op, TensorType, ValueId};

use super::{Growth, Known, Range, Step};

pub(super) const STEPS: &[Step] = &[product, product, product, dispatch, dropping];

impl Growth {
    /// The contraction `spec`, in any letters, of two values.
    pub(super) fn einsum(&mut self, spec: &str, x: Known, y: Known) -> Option<Known> {
        let spec = EinsumSpec::parse(spec).ok()?.canonical();
        let mut count = 1;
        for letter in spec.contracted() {
            let at = |letters: &[u8]| letters.iter().position(|&l| l == letter);
            let left = at(&spec.lhs).map(|i| self.ty(x).shape[i].clone());
            let dim = left.or(at(&spec.rhs).map(|i| self.ty(y).shape[i].clone()))?;
            count *= self.largest(&dim);
        }
        let range = self.products(x, y, count)?;
        let id = self.push(Op::Einsum, &[x.id, y.id], [("spec", spec.to_string().into())]);
        Some(self.keep(id, range))
    }

    /// The range of sums of `count` products.
    fn products(&self, x: Known, y: Known, count: usize) -> Option<Range> {
        let (a, b) = (x.range, y.range);
        let most = a.most() * b.most();
        let error = a.error * b.most() + b.error * a.most();
        let width = count as f64;
        let range = Range { low: -width * most, high: width * most, error: width * (error + 2.0 * most) };
        self.sane(DType::F32, &range).then_some(range)
    }

    /// Weights or inputs in a random float type.
    pub(super) fn matrix(&mut self, shape: Vec<Dim>) -> Known {
        let dtype = self.rng.pick(&[DType::F32, DType::F32, DType::Bf16, DType::F16]);
        self.source(TensorType::new(dtype, shape))
    }
}

fn product(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::F32, DType::Bf16]);
    let x = g.any(dtype);
    let shape = g.ty(x).shape;
    let letters: Vec<u8> = (b'a'..).take(shape.len()).collect();
    // Each letter of `x` is shared or not, kept or not; the new one is kept.
    let mut rhs: Vec<(u8, Dim)> = vec![(b'n', Dim::constant(g.rng.pick(&[1, 2, 5, 17])))];
    let mut out = vec![b'n'];
    for (&letter, dim) in letters.iter().zip(&shape) {
        let kept = g.constant(dim).is_none() || g.rng.once_in(2);
        if kept {
            out.push(letter);
        }
        if !(kept && g.rng.once_in(2)) {
            rhs.push((letter, dim.clone()));
        }
    }
    g.rng.shuffle(&mut rhs);
    g.rng.shuffle(&mut out);
    let wanted: Vec<Dim> = rhs.iter().map(|(_, dim)| dim.clone()).collect();
    let y = g.matrix(wanted);
    let text = |letters: &[u8]| letters.iter().map(|&l| char::from(l)).collect::<String>();
    let rhs: Vec<u8> = rhs.iter().map(|(letter, _)| *letter).collect();
    let full: Vec<Dim> = (out.iter())
        .map(|l| letters.iter().position(|m| m == l).map_or(Dim::constant(17), |i| shape[i].clone()))
        .collect();
    if !g.small(&full) {
        return None;
    }
    g.einsum(&format!("{},{}->{}", text(&letters), text(&rhs), text(&out)), x, y).map(drop)
}

/// A plan made by a route over scores.
struct Dispatch {
    plan: ValueId,
    /// The chosen scores, `[tokens, slots]`.
    value: Known,
    tokens: Dim,
    experts: Dim,
    slots: Dim,
}

fn routed(g: &mut Growth) -> Dispatch {
    let tokens = g.rng.pick(&["T", "T", "5"]);
    let tokens = tokens.parse().map_or_else(|_| Dim::symbol(tokens), Dim::constant);
    let experts = g.rng.pick(&[1, 3, 4, 8]);
    let slots = 1 + g.rng.below(experts.min(3));
    let [e, k] = [experts, slots].map(|n| Dim::constant(n as u64));
    let scores = TensorType::new(DType::F32, [tokens.clone(), e.clone()]);
    let scores = g.declared("scores", scores, Range::exact(-2.0, 2.0));
    let route = g.push(
        Op::TopK,
        &[scores.id],
        [("axis", 1usize.into()), ("k", (&k).into()), ("largest", true.into())],
    );
    let index = g.push(Op::RouteIndex, &[route], []);
    let value = g.push(Op::RouteValue, &[route], []);
    let value = g.keep(value, scores.range);
    let plan = g.push(Op::Plan, &[index], [("experts", (&e).into())]);
    Dispatch { plan, value, tokens, experts: e, slots: k }
}

/// Rows sent to their experts, worked on in plan rows, and combined.
fn dispatch(g: &mut Growth) -> Option<()> {
    let Dispatch { plan, value, tokens, experts: e, slots: k } = routed(g);
    let slots = g.largest(&k);
    let [h, f] = [g.rng.pick(&[1, 3, 8, 17]), g.rng.pick(&[2, 5, 17])].map(Dim::constant);
    let x = rows(g, plan, &[&tokens, &e, &k, &h]);
    let w = g.matrix(vec![e.clone(), f.clone(), h.clone()]);
    let range = g.products(x, w, g.largest(&h))?;
    let spec = ("spec", "ab,cdb->ad".into());
    let z = if g.rng.once_in(2) {
        g.push(Op::GroupedMatmul, &[plan, x.id, w.id], [spec])
    } else {
        let experts = 0..g.largest(&e) as i64;
        let resident: Vec<i64> = experts.filter(|_| g.rng.once_in(2)).collect();
        g.push(Op::PlacedMatmul, &[plan, x.id, w.id], [("resident", resident.into()), spec])
    };
    let mut z = g.keep(z, range);
    if g.rng.once_in(2) {
        let bias = g.source(TensorType::new(DType::F32, [e.clone(), f.clone()]));
        let taken = g.push(Op::TakeExperts, &[plan, bias.id], []);
        let taken = g.keep(taken, bias.range);
        z = g.binary(Op::Add, z, taken)?;
    }
    let op = g.rng.pick(&[Op::Silu, Op::Relu, Op::Tanh]);
    let z = g.unary(op, z)?;
    let weights = if g.rng.once_in(2) { g.softmax(value, 1)? } else { value };
    let range = g.products(weights, z, slots)?;
    let y = g.push(Op::Combine, &[plan, weights.id, z.id], []);
    g.keep(y, range);
    Some(())
}

/// The same where only some experts count, or only as many pairs of each as there are seats. What
/// stands in the rows of the other pairs is for `combine` alone.
fn dropping(g: &mut Growth) -> Option<()> {
    let Dispatch { mut plan, value, tokens, experts: mut e, slots: k } = routed(g);
    let [h, f] = [g.rng.pick(&[1, 3, 8]), g.rng.pick(&[2, 17])].map(Dim::constant);
    let (limited, some) = (g.rng.once_in(2), g.rng.once_in(2));
    if some || !limited {
        let mut listed: Vec<i64> = (0..g.largest(&e) as i64).collect();
        g.rng.shuffle(&mut listed);
        listed.truncate(1 + g.rng.below(listed.len()));
        e = Dim::constant(listed.len() as u64);
        let ty = TensorType::new(DType::I32, [e.clone()]);
        let values = listed.iter().map(|&expert| Number::new(expert as f64)).collect();
        let list = g.push(Op::Literal, &[], [("type", ty.into()), ("values", Attr::Numbers(values))]);
        plan = g.push(Op::PlanSubset, &[plan, list], []);
    }
    if limited {
        let group =
            if g.constant(&tokens).is_some() && g.rng.once_in(2) { Dim::constant(1) } else { tokens.clone() };
        let capacity = g.rng.pick(&[0, 1, 2, 7]);
        let first = g.rng.once_in(2);
        let attrs = [
            ("capacity", Dim::constant(capacity).into()),
            ("group", group.into()),
            ("slots_first", first.into()),
        ];
        plan = g.push(Op::PlanCapacity, &[plan], attrs);
    }
    let group = if g.rng.once_in(2) { Dim::constant(1) } else { tokens.clone() };
    let attrs = [("group", (&group).into()), ("slots_first", g.rng.once_in(2).into())];
    let x = if g.constant(&tokens).is_some() && g.rng.once_in(2) {
        let seat = g.push(Op::PlanSeat, &[plan], attrs.clone());
        g.keep(seat, Range::exact(-1.0, 15.0));
        let grouped = group != tokens;
        let groups = if grouped { vec![tokens.clone()] } else { Vec::new() };
        let [of, order] = attrs.clone();
        let attrs = [of, ("grouped", grouped.into()), order];
        let seats = Dim::constant(g.rng.pick(&[0, 1, 2, 4]));
        let shape: Vec<Dim> = [e.clone(), seats].into_iter().chain(groups).chain([h.clone()]).collect();
        let x = g.source(TensorType::new(DType::F32, shape));
        Known {
            id: g.push(Op::TakeSeats, &[plan, x.id], attrs),
            range: x.range.join(&Range::exact(0.0, 0.0)),
        }
    } else {
        let x = g.source(TensorType::new(DType::F32, [tokens.clone(), h.clone()]));
        Known { id: g.push(Op::TakeRows, &[plan, x.id], []), range: x.range }
    };
    let w = g.matrix(vec![e, f, h.clone()]);
    let range = g.products(x, w, g.largest(&h))?;
    let z = g.push(Op::GroupedMatmul, &[plan, x.id, w.id], [("spec", "ab,cdb->ad".into())]);
    let z = Known { id: g.push(Op::Relu, &[z], []), range };
    let range = g.products(value, z, g.largest(&k))?;
    let y = g.push(Op::Combine, &[plan, value.id, z.id], []);
    g.keep(y, range);
    Some(())
}

/// `f32[rows, h]` in plan rows, taken in one of the ways there are.
fn rows(g: &mut Growth, plan: ValueId, [tokens, e, k, h]: &[&Dim; 4]) -> Known {
    let leading: (Op, Vec<&Dim>) = match g.rng.below(4) {
        0 => (Op::TakeRows, vec![tokens]),
        1 => (Op::TakeSlots, vec![tokens, k]),
        2 => (Op::TakePairs, vec![e, tokens]),
        _ => {
            // The same as slots, by way of the flattened plan.
            let flat = g.push(Op::PlanFlatten, &[plan], []);
            let pairs = tokens.times(k).expect("small sizes");
            let x = g.source(TensorType::new(DType::F32, [pairs, (*h).clone()]));
            let id = g.push(Op::TakeRows, &[flat, x.id], []);
            return g.keep(id, x.range);
        }
    };
    let shape: Vec<Dim> = leading.1.into_iter().chain([*h]).cloned().collect();
    let x = g.source(TensorType::new(DType::F32, shape));
    let id = g.push(leading.0, &[plan, x.id], []);
    g.keep(id, x.range)
}
