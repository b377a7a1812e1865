//! The customers: requests arrive at random at a steady rate, whether or not the shop keeps up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::http::{Call, Client};
use crate::rng::Rng;
use crate::service::catalog::PRODUCTS;
use crate::service::order_log::Order;
use crate::timeline::{Sample, Timeline};

/// Arrivals a second, on average.
pub(crate) const RATE_PER_SECOND: f64 = 60.0;

/// A customer waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// This share of the requests are orders, the rest look at a product.
const ORDER_SHARE: f64 = 0.25;

/// The running load.
#[derive(Debug)]
pub(crate) struct Load {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(gateway: SocketAddr, seed: u64, timeline: Arc<Timeline>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(arrivals(gateway, Rng::new(seed), timeline, stopped));
        Self { stop, task }
    }

    /// Lets nobody else in and waits until the last customer has left.
    pub(crate) async fn stop(self) {
        // If the task has ended already, there is nobody to stop.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn arrivals(
    gateway: SocketAddr,
    mut rng: Rng,
    timeline: Arc<Timeline>,
    mut stopped: oneshot::Receiver<()>,
) {
    let client = Arc::new(Client::default());
    let mut requests = JoinSet::new();
    let mut next = Instant::now();
    for number in 0_u64.. {
        next += Duration::from_secs_f64(rng.interarrival_seconds(RATE_PER_SECOND));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            _ = &mut stopped => break,
        }
        let product = 1 + rng.below(PRODUCTS);
        let call = if rng.unit() < ORDER_SHARE {
            let quantity = 1 + rng.below(5);
            Call::post(
                gateway,
                "/order",
                json!({"product": product, "quantity": quantity}),
            )
        } else {
            Call::get(gateway, format!("/shop/{product}"))
        };
        let call = call.within(PATIENCE).request_id(format!("r{number}"));
        requests.spawn(request(Arc::clone(&client), call, Arc::clone(&timeline)));
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

async fn request(client: Arc<Client>, call: Call, timeline: Arc<Timeline>) {
    let started = timeline.now();
    let answer = client.send(&call).await;
    let latency = timeline.now().saturating_sub(started);
    let mut ok = false;
    if let Ok(answer) = &answer {
        ok = answer.status.is_success();
        if ok && call.body.is_some() {
            // An order counts as acknowledged when its number has arrived.
            match answer.json::<Order>() {
                Ok(order) => timeline.acknowledge(order.id),
                Err(_) => ok = false,
            }
        }
    }
    timeline.record(Sample {
        started,
        latency,
        ok,
    });
}
