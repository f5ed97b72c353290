//! Giving values a buffer: by a copy loop, or by the store of a product whose epilogue they are.

use std::collections::BTreeSet;

use moec_ir::{Dim, Type, ValueId};

use crate::{Cold, Groups, Kernel, Map, Phase, PlanError, Product, Store};

use super::contract::Contraction;
use super::coord::Coord;
use super::emit::Emitter;
use super::epilogue::{Axes, Epilogue};
use super::view::View;
use super::{Held, Planner};

/// Products that one kernel computes over the same rows. More would not fit in registers.
const MOST_WEIGHTS: usize = 2;

/// What is evaluated together with a root.
#[derive(Default)]
struct Tree {
    /// Expressions, the root included.
    lazy: BTreeSet<ValueId>,
    /// Products that wait.
    pending: BTreeSet<ValueId>,
}

impl Planner<'_> {
    /// The value in a buffer.
    pub(super) fn store(&mut self, value: ValueId) -> Result<View, PlanError> {
        if let Held::View(view) = &self.held[value.index()] {
            return Ok(view.clone());
        }
        if let Some(view) = self.fuse_tree(value, None)? {
            return Ok(view);
        }
        let view = self.result(value)?;
        self.map_into(self.phase(value), value, &view)?;
        self.hold(value, Held::View(view.clone()));
        Ok(view)
    }

    /// Computes a piece of the value `user` straight into its place `target`.
    pub(super) fn store_into(
        &mut self,
        phase: Phase,
        value: ValueId,
        target: &View,
        user: ValueId,
    ) -> Result<(), PlanError> {
        let once = self.module.node(user).args.iter().filter(|arg| **arg == value).count() == 1;
        if once && self.survey.used_only_by(value, &[user]) && self.phase(value) == phase {
            if self.fuse_tree(value, Some(target))?.is_some() {
                return Ok(());
            }
        } else {
            self.settle(value, phase)?;
        }
        self.map_into(phase, value, target)
    }

    /// A loop that evaluates the value at every point, into `target`.
    pub(super) fn map_into(&mut self, phase: Phase, value: ValueId, target: &View) -> Result<(), PlanError> {
        let shape = self.shape(value).to_vec();
        let mut emitter = Emitter::new(self);
        let result = emitter.at(value, &Coord::axes(shape.len()))?;
        let scalars = emitter.scalars;
        let map = Map { shape, scalars, value: result, out: target.store() };
        self.step(phase, value, Kernel::Map(map));
        Ok(())
    }

    fn tree(&self, root: ValueId) -> Tree {
        let mut tree = Tree::default();
        let mut open = vec![root];
        while let Some(value) = open.pop() {
            match &self.held[value.index()] {
                Held::Pending(_) => {
                    tree.pending.insert(value);
                }
                Held::Lazy => {
                    let args = self.module.node(value).args.iter();
                    if tree.lazy.insert(value) {
                        open.extend(args.filter(|a| matches!(self.module.node(**a).ty, Type::Tensor(_))));
                    }
                }
                _ => {}
            }
        }
        tree
    }

    /// Makes a value the epilogue of products in its tree, if there are any that only it needs, and
    /// stores the other products of the tree. The view of the value, if it was stored that way.
    pub(super) fn fuse_tree(
        &mut self,
        root: ValueId,
        target: Option<&View>,
    ) -> Result<Option<View>, PlanError> {
        let tree = self.tree(root);
        if tree.pending.is_empty() {
            return Ok(None);
        }
        let chosen = self.choose(root, &tree);
        for &product in tree.pending.iter().filter(|p| !chosen.contains(p)) {
            self.store_product(product, &[product], None)?;
        }
        if !chosen.is_empty()
            && let Some(view) = self.store_product(root, &chosen, target)?
        {
            return Ok(Some(view));
        }
        for product in chosen {
            self.store_product(product, &[product], None)?;
        }
        Ok(None)
    }

    /// The products that may share one kernel with `root` as its epilogue: most of them, and the last.
    fn choose(&self, root: ValueId, tree: &Tree) -> Vec<ValueId> {
        let mut best: Vec<ValueId> = Vec::new();
        for &first in tree.pending.iter().rev() {
            let Held::Pending(contraction) = &self.held[first.index()] else { continue };
            let fits = |other: &ValueId| {
                let compatible = match &self.held[other.index()] {
                    Held::Pending(c) => c.shares_kernel_with(contraction),
                    _ => false,
                };
                compatible && self.phase(*other) == self.phase(root) && self.only_in(*other, root, tree)
            };
            let class: Vec<ValueId> = tree.pending.iter().copied().filter(fits).take(MOST_WEIGHTS).collect();
            if class.len() > best.len() {
                best = class;
            }
        }
        best
    }

    /// Whether nothing outside the tree needs the product, or what depends on it inside the tree.
    fn only_in(&self, product: ValueId, root: ValueId, tree: &Tree) -> bool {
        let mut dependent = vec![product];
        for &value in &tree.lazy {
            if self.module.node(value).args.iter().any(|arg| dependent.contains(arg)) {
                dependent.push(value);
            }
        }
        let members: Vec<ValueId> = tree.lazy.iter().copied().collect();
        dependent.iter().filter(|v| **v != root).all(|v| self.survey.used_only_by(*v, &members))
    }

    /// One kernel for `products` with `root` as its epilogue, unless the root uses them askew or its
    /// loads and stores do not fit the axes of the product.
    fn store_product(
        &mut self,
        root: ValueId,
        products: &[ValueId],
        target: Option<&View>,
    ) -> Result<Option<View>, PlanError> {
        let mut contractions: Vec<Contraction> = Vec::new();
        for product in products {
            if let Held::Pending(contraction) = &self.held[product.index()] {
                contractions.push((**contraction).clone());
            }
        }
        let Some(first) = contractions.first().cloned() else { return Ok(None) };
        let shape = self.shape(root);
        let routing = match &first.groups {
            Groups::Routed(routing) => Some(routing.clone()),
            Groups::Batch { .. } => None,
        };
        let mut emitter = Emitter::new(self);
        emitter.epilogue = Some(Epilogue::new(shape.len(), products, routing));
        let result = emitter.at(root, &Coord::axes(shape.len()))?;
        let axes = emitter.epilogue.as_ref().and_then(|epilogue| epilogue.axes(shape, &first.roles));
        let scalars = emitter.scalars;
        let Some(axes) = axes else { return Ok(None) };
        let Some((scalars, value)) = axes.carry(&scalars, result)? else { return Ok(None) };
        let Some((view, out)) = self.place_product(root, &axes, target)? else { return Ok(None) };
        let cold = cold(&contractions)?;
        let weights = contractions.into_iter().map(|c| c.weight).collect();
        let kernel = Product { groups: first.groups, lhs: first.lhs, weights, cold, scalars, value, out };
        self.step(self.phase(root), root, Kernel::Product(kernel));
        for &product in products {
            self.hold(product, Held::Spent);
        }
        self.hold(root, if target.is_some() { Held::Spent } else { Held::View(view.clone()) });
        Ok(Some(view))
    }

    /// Memory for the result of a product: the target, or row-major, or else in the product's order.
    fn place_product(
        &mut self,
        root: ValueId,
        axes: &Axes<'_>,
        target: Option<&View>,
    ) -> Result<Option<(View, Store)>, PlanError> {
        if let Some(view) = target {
            return Ok(axes.store(view)?.map(|store| (view.clone(), store)));
        }
        let natural = View::natural(crate::BufferId(0), axes.shape)?;
        if axes.store(&natural)?.is_some() {
            let view = self.result(root)?;
            return Ok(axes.store(&view)?.map(|store| (view, store)));
        }
        let order = axes.in_product_order();
        let turned: Vec<_> = order.iter().map(|&axis| axes.shape[axis].clone()).collect();
        let dtype = self.module.node(root).tensor().dtype;
        let view = self.scratch(format!("v{}", root.0), dtype, &turned)?;
        let mut back = vec![0; order.len()];
        for (at, &axis) in order.iter().enumerate() {
            back[axis] = at;
        }
        let view = view.permuted(&back);
        Ok(axes.store(&view)?.map(|store| (view, store)))
    }
}

/// The cold experts of products that share a kernel, which are the same for all.
fn cold(products: &[Contraction]) -> Result<Option<Cold>, PlanError> {
    let colds: Vec<_> = products.iter().filter_map(|product| product.cold.as_ref()).collect();
    let Some(first) = colds.first() else { return Ok(None) };
    // All have one element type and depth.
    let panel_bytes = first.panel_bytes.times(&Dim::constant(colds.len() as u64))?;
    let packs = colds.iter().map(|cold| cold.pack.clone()).collect();
    Ok(Some(Cold { slots: first.slots, packs, panel_bytes }))
}
