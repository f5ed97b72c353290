//! What the machine can do at the moment: how fast it reads memory, and how fast it multiplies.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use moec::Pool;
use moec::buffer::{Buffer, BufferError};
use moec::ir::DType;
use moec::probe::{Products, multiply, read};
use moec::tiles::amx_permission;

use crate::{Useful, median};

/// What was measured, all of it a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Bytes read from memory.
    pub bytes: f64,
    /// Flops of multiply-add in f32; infinite where it is not known how to measure them.
    pub flops: f64,
    /// Flops of products of bf16 pairs, where the machine has them.
    pub bf16_flops: Option<f64>,
}

impl Rates {
    /// The median of each rate.
    pub fn median(of: &[Rates]) -> Rates {
        let middle = |rate: &dyn Fn(&Rates) -> Option<f64>| {
            let mut values: Vec<f64> = of.iter().filter_map(rate).collect();
            (!values.is_empty()).then(|| median(&mut values))
        };
        Rates {
            bytes: middle(&|rates| Some(rates.bytes)).unwrap_or(f64::NAN),
            flops: middle(&|rates| Some(rates.flops)).unwrap_or(f64::NAN),
            bf16_flops: middle(&|rates| rates.bf16_flops),
        }
    }

    /// Flops of products whose rows are of that type.
    pub fn products(&self, row: DType) -> f64 {
        if row == DType::Bf16 { self.bf16_flops.unwrap_or(self.flops) } else { self.flops }
    }

    /// The least seconds for that work.
    pub fn limit(&self, work: &Useful) -> f64 {
        let compute = work.flops / self.flops + work.bf16_flops / self.bf16_flops.unwrap_or(self.flops);
        (work.bytes / self.bytes).max(compute)
    }

    /// How far the rate that differs most is from that of the other, as a part of it.
    pub fn distance(&self, usual: &Rates) -> f64 {
        let far = |a: f64, b: f64| if a == b { 0.0 } else { (a / b - 1.0).abs() };
        let pairs = self.bf16_flops.zip(usual.bf16_flops).map_or(0.0, |(a, b)| far(a, b));
        far(self.bytes, usual.bytes).max(far(self.flops, usual.flops)).max(pairs)
    }
}

/// Bytes of the memory that is read: far more than caches hold.
const MEMORY: u64 = 512 << 20;

/// Rounds of products: some milliseconds.
const PRODUCTS: u64 = 1 << 19;

/// Measures the machine on the threads of a pool.
pub struct Probes {
    pool: Arc<Pool>,
    memory: Buffer,
}

impl Probes {
    /// Probes on these threads.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn new(pool: &Arc<Pool>) -> Result<Probes, BufferError> {
        // Written once: memory that was never written may all be one page of zeros.
        let mut memory = Buffer::zeroed(MEMORY)?;
        memory.as_mut_slice::<f32>().fill(1.5);
        Ok(Probes { memory, pool: Arc::clone(pool) })
    }

    /// Measures everything once, in some tens of milliseconds.
    pub fn once(&self) -> Rates {
        let started = Instant::now();
        black_box(read(&self.memory, &self.pool));
        let bytes = self.memory.len() as f64 / started.elapsed().as_secs_f64();
        let flops = self.products(Products::F32).unwrap_or(f64::INFINITY);
        Rates { bytes, flops, bf16_flops: self.products(Products::Bf16Pairs(amx_permission())) }
    }

    fn products(&self, products: Products) -> Option<f64> {
        let started = Instant::now();
        let flops = multiply(products, PRODUCTS, &self.pool)?;
        Some(flops as f64 / started.elapsed().as_secs_f64())
    }
}
