//! The verifier.
use crate::{Plan, PlanError};

/// Checks.
pub fn verify(_plan: &Plan) -> Result<(), PlanError> {
    Ok(())
}
