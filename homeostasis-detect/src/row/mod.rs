//! Kernels over rows: several series of one component, judged together.

mod autoencoder;
mod calibration;
mod component;
#[cfg(feature = "ml")]
mod density;
mod eigen;
#[cfg(feature = "ml")]
mod gaussian_mixture;
mod isolation_forest;
mod isolation_tree;
mod network;
mod pca_residual;
mod pca_training;
mod per_component;
mod scaler;
#[cfg(test)]
mod testing;

pub use autoencoder::{Autoencoder, AutoencoderConfig};
#[cfg(feature = "ml")]
pub use density::density_groups;
#[cfg(feature = "ml")]
pub use gaussian_mixture::{GaussianMixture, GaussianMixtureConfig};
pub use isolation_forest::{IsolationForest, IsolationForestConfig};
pub use pca_residual::{PcaResidual, PcaResidualConfig};
pub use per_component::{ComponentCounts, PerComponent, PerComponentConfig};

use homeostasis_core::stage::{DetectError, Rows};

/// Rows a model can be learned from.
fn check_rows(rows: Rows<'_>, least: usize, widest: usize) -> Result<(), DetectError> {
    let fits = rows.len() >= least && rows.width() <= widest;
    if !fits {
        return Err(DetectError::invalid(
            format!("{} rows of {} values", rows.len(), rows.width()),
            format!("expected at least {least} rows of at most {widest} values"),
        ));
    }
    if !rows.values().iter().any(|value| value.is_finite()) {
        return Err(DetectError::invalid(
            format!("{} rows without a value", rows.len()),
            "expected finite numbers to learn from",
        ));
    }
    Ok(())
}

/// A row as wide as those that were learned.
fn check_width(found: usize, expected: usize) -> Result<(), DetectError> {
    if found == expected {
        Ok(())
    } else {
        Err(DetectError::invalid(
            format!("a row of {found} values"),
            format!("expected {expected}, as in the rows that were learned"),
        ))
    }
}
