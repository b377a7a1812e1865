//! How Homeostasis is embedded in the shop.
//!
//! The seam: [`tend`] gets the [`Shop`] and nothing else. The [`Deployment`](crate::deployment)
//! in it names what a stranger would be told: health and metrics pages, JSON logs, pid files,
//! deployment slots, flags. About faults it knows nothing.

use crate::BoxError;
use crate::shop::Shop;

/// Opens the shop, or adopts what an earlier shop left running, and keeps it for good.
pub(crate) async fn tend(shop: &Shop) -> Result<(), BoxError> {
    shop.open().await?;
    std::future::pending().await
}
