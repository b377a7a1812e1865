//! Weights in memory, and what follows them without a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Mirror, TrafficError, TrafficRouter, Weights};
use crate::rng::Rng;

/// Weights and mirrors in memory, for hosts that route inside of the process.
///
/// A host [`pick`](Self::pick)s a slot for each request, or [`serve`](Self::serve)s the slots it has and
/// follows their [`Route`] without a lock. What is set is in force for every request that is routed
/// afterwards, all slots at once. In a process that was started anew nothing is routed until somebody
/// sets it again: begin with the weights of a host's own configuration.
#[derive(Debug, Default)]
pub struct MemoryRouter {
    /// Counts every change, so that who follows sees at a glance that there was none.
    version: AtomicU64,
    services: Mutex<BTreeMap<String, Service>>,
}

#[derive(Debug, Default)]
struct Service {
    route: Option<Arc<Route>>,
    mirror: Option<Mirror>,
    slots: Option<Arc<Slots>>,
}

/// Requests on their way, by slot.
type Slots = BTreeMap<Arc<str>, Arc<AtomicU64>>;

/// Where the requests to a service go.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Route {
    /// The shares of its slots.
    pub weights: Weights,
    /// Where copies go.
    pub mirror: Option<Mirror>,
}

impl MemoryRouter {
    /// The slot for one request to `service`; `None` if nothing is routed for it.
    pub fn pick(&self, service: &str, rng: &mut Rng) -> Option<String> {
        let services = self.services();
        let route = services.get(service)?.route.as_ref()?;
        Some(route.weights.pick(rng).to_owned())
    }

    /// Declares the slots that a host has for `service`, and gives what follows its route. `initial` is in
    /// force if nothing was set before. From then on [`set_weights`](TrafficRouter::set_weights) refuses
    /// other slots, and [`in_flight`](TrafficRouter::in_flight) tells what the followers count.
    ///
    /// # Errors
    /// [`TrafficError::Invalid`] if something is routed to a slot that is not there, or somebody else
    /// follows the service.
    pub fn serve<S: Into<String>>(
        self: &Arc<Self>,
        service: &str,
        slots: impl IntoIterator<Item = S>,
        initial: &Weights,
    ) -> Result<RouteFollower, TrafficError> {
        let slots = slots.into_iter().map(|slot| slot.into().into());
        let names: Vec<Arc<str>> = slots.collect();
        let mut slots = Arc::new(Slots::new());
        self.change(service, |entry| {
            if entry
                .slots
                .as_ref()
                .is_some_and(|slots| Arc::strong_count(slots) > 1)
            {
                let detail = format!("{service:?}, expected one that nobody follows");
                return Err(TrafficError::invalid("service", detail));
            }
            let route = entry.route.clone().unwrap_or_else(|| {
                let mirror = entry.mirror.clone();
                Arc::new(Route {
                    weights: initial.clone(),
                    mirror,
                })
            });
            // Requests of a former follower may still be on their way: they go on being counted.
            let former = entry.slots.as_deref();
            let count = |slot: Arc<str>| {
                let count = former.and_then(|former| former.get(&slot)).cloned();
                (slot, count.unwrap_or_default())
            };
            slots = Arc::new(names.into_iter().map(count).collect());
            check(service, &slots, &route.weights, route.mirror.as_ref())?;
            entry.route = Some(route);
            entry.slots = Some(Arc::clone(&slots));
            Ok(())
        })?;
        Ok(RouteFollower {
            router: Arc::clone(self),
            service: service.into(),
            slots,
            seen: None,
            route: None,
        })
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is routed for `service`.
    fn change(
        &self,
        service: &str,
        change: impl FnOnce(&mut Service) -> Result<(), TrafficError>,
    ) -> Result<(), TrafficError> {
        let mut services = self.services();
        let mut fresh = Service::default();
        let entry = services.get_mut(service).unwrap_or(&mut fresh);
        change(entry)?;
        if !services.contains_key(service) {
            services.insert(service.to_owned(), fresh);
        }
        // After the change and under the lock: who sees the number finds the change.
        self.version.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Refuses what leads to a slot that is not there.
fn check(
    service: &str,
    slots: &Slots,
    weights: &Weights,
    mirror: Option<&Mirror>,
) -> Result<(), TrafficError> {
    let weighted = weights.iter().filter(|(_, weight)| *weight > 0);
    let used = weighted.map(|(slot, _)| slot);
    let mut used = used.chain(mirror.map(|mirror| mirror.slot.as_str()));
    match used.find(|slot| !slots.contains_key(*slot)) {
        None => Ok(()),
        Some(slot) => {
            let known: Vec<_> = slots.keys().collect();
            let detail = format!("{slot:?}, expected one of {known:?}");
            Err(TrafficError::invalid(format!("slot of {service}"), detail))
        }
    }
}

#[async_trait]
impl TrafficRouter for MemoryRouter {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        self.change(service, |entry| {
            if let Some(slots) = &entry.slots {
                check(service, slots, weights, None)?;
            }
            entry.route = Some(Arc::new(Route {
                weights: weights.clone(),
                mirror: entry.mirror.clone(),
            }));
            Ok(())
        })
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        let services = self.services();
        let route = services.get(service).and_then(|entry| entry.route.as_ref());
        Ok(route.map(|route| route.weights.clone()))
    }

    /// Copies are made by who follows; a host that only picks makes none.
    async fn set_mirror(&self, service: &str, mirror: Option<&Mirror>) -> Result<(), TrafficError> {
        self.change(service, |entry| {
            if let (Some(slots), Some(mirror)) = (&entry.slots, mirror)
                && !slots.contains_key(mirror.slot.as_str())
            {
                let known: Vec<_> = slots.keys().collect();
                let detail = format!("{:?}, expected one of {known:?}", mirror.slot);
                return Err(TrafficError::invalid(
                    format!("mirror of {service}"),
                    detail,
                ));
            }
            entry.mirror = mirror.cloned();
            if let Some(route) = &mut entry.route {
                Arc::make_mut(route).mirror = mirror.cloned();
            }
            Ok(())
        })
    }

    async fn mirror(&self, service: &str) -> Result<Option<Mirror>, TrafficError> {
        let services = self.services();
        Ok(services.get(service).and_then(|entry| entry.mirror.clone()))
    }

    async fn in_flight(&self, service: &str, slot: &str) -> Result<Option<u64>, TrafficError> {
        let services = self.services();
        let slots = services.get(service).and_then(|entry| entry.slots.as_ref());
        let count = slots.and_then(|slots| slots.get(slot));
        Ok(count.map(|count| count.load(Ordering::SeqCst)))
    }
}

/// Follows the route of one service: while nothing changes, looking is one atomic load.
///
/// Clones follow by themselves; give each task its own.
#[derive(Debug, Clone)]
pub struct RouteFollower {
    router: Arc<MemoryRouter>,
    service: Arc<str>,
    slots: Arc<Slots>,
    seen: Option<u64>,
    route: Option<Arc<Route>>,
}

impl RouteFollower {
    /// The route in force.
    pub fn route(&mut self) -> Option<&Arc<Route>> {
        // Read before the route: a change in between is seen the next time.
        let version = self.version();
        if self.seen != Some(version) {
            let services = self.router.services();
            let entry = services.get(&*self.service);
            self.route = entry.and_then(|entry| entry.route.clone());
            self.seen = Some(version);
        }
        self.route.as_ref()
    }

    /// Begins a request to the slot that `pick` takes from the weights in force; `None` if that is none
    /// that is served. `pick` is called again if the weights change meanwhile.
    ///
    /// Once [`in_flight`](TrafficRouter::in_flight) of a slot whose weight was set to zero is zero, no
    /// request begins there any more.
    pub fn begin(&mut self, pick: impl Fn(&Weights) -> &str) -> Option<OnItsWay> {
        loop {
            let route = Arc::clone(self.route()?);
            let began = self.begin_at(pick(&route.weights))?;
            // Counted first: who set the weights in between sees the count, or we see the weights.
            if self.seen == Some(self.version()) {
                return Some(began);
            }
        }
    }

    /// Counts a request to `slot`, such as a copy, whatever its weight; `None` if it is not served.
    pub fn begin_at(&self, slot: &str) -> Option<OnItsWay> {
        let (slot, count) = self.slots.get_key_value(slot)?;
        count.fetch_add(1, Ordering::SeqCst);
        Some(OnItsWay {
            slot: Arc::clone(slot),
            count: Arc::clone(count),
        })
    }

    fn version(&self) -> u64 {
        self.router.version.load(Ordering::SeqCst)
    }
}

/// A request on its way to a slot; it is over when this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as over when this is dropped"]
pub struct OnItsWay {
    slot: Arc<str>,
    count: Arc<AtomicU64>,
}

impl OnItsWay {
    /// The slot it goes to.
    pub fn slot(&self) -> &str {
        &self.slot
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Ratio;

    fn weights(stable: u32, canary: u32) -> Weights {
        Weights::new([("stable", stable), ("canary", canary)]).unwrap()
    }

    #[tokio::test]
    async fn requests_on_their_way_are_counted_when_a_service_is_served_again() {
        let router = Arc::new(MemoryRouter::default());
        let slots = ["stable", "canary"];
        let follower = router.serve("orders", slots, &weights(1, 0)).unwrap();
        let request = follower.begin_at("canary").unwrap();
        drop(follower);
        let _follower = router.serve("orders", slots, &weights(1, 0)).unwrap();
        let counted = async || router.in_flight("orders", "canary").await.unwrap();
        assert_eq!(counted().await, Some(1));
        drop(request);
        assert_eq!(counted().await, Some(0));
    }

    #[tokio::test]
    async fn weights_are_replaced_as_a_whole_and_read_back() {
        let router = MemoryRouter::default();
        let mut rng = Rng::from_seed(3);
        assert_eq!(router.weights("orders").await.unwrap(), None);
        assert_eq!(router.pick("orders", &mut rng), None);
        let canary = weights(99, 1);
        router.set_weights("orders", &canary).await.unwrap();
        assert_eq!(router.weights("orders").await.unwrap(), Some(canary));
        let green = Weights::new([("green", 1)]).unwrap();
        router.set_weights("orders", &green).await.unwrap();
        assert_eq!(router.weights("orders").await.unwrap(), Some(green));
        assert_eq!(router.pick("orders", &mut rng).as_deref(), Some("green"));
    }

    #[tokio::test]
    async fn a_follower_sees_every_change_and_a_drained_slot_is_told() {
        let router = Arc::new(MemoryRouter::default());
        let slots = ["stable", "canary"];
        let mut follower = router.serve("orders", slots, &weights(0, 1)).unwrap();
        assert!(follower.begin(|_| "green").is_none());
        assert!(
            router.serve("orders", slots, &weights(0, 1)).is_err(),
            "it is followed"
        );
        let first = follower.begin(|weights| weights.at(0)).unwrap();
        assert_eq!(first.slot(), "canary");
        router.set_weights("orders", &weights(1, 0)).await.unwrap();
        // A clone from before the change follows too.
        let second = follower.clone().begin(|weights| weights.at(0)).unwrap();
        assert_eq!(second.slot(), "stable");
        let n = async |slot| router.in_flight("orders", slot).await.unwrap();
        assert_eq!((n("canary").await, n("stable").await), (Some(1), Some(1)));
        drop(first);
        assert_eq!((n("canary").await, n("green").await), (Some(0), None));
        // What was set stays when the host serves it again.
        drop(follower);
        let _again = router.serve("orders", slots, &weights(0, 1)).unwrap();
        assert_eq!(router.weights("orders").await.unwrap(), Some(weights(1, 0)));
    }

    #[tokio::test]
    async fn weights_that_change_while_a_slot_is_picked_are_looked_at_again() {
        let router = Arc::new(MemoryRouter::default());
        let slots = ["stable", "canary"];
        let mut follower = router.serve("orders", slots, &weights(0, 1)).unwrap();
        let began = follower.begin(|picked_from| {
            if picked_from.share("canary") == Ratio::ONE {
                let change = |entry: &mut Service| {
                    let (weights, mirror) = (weights(1, 0), None);
                    entry.route = Some(Arc::new(Route { weights, mirror }));
                    Ok(())
                };
                router.change("orders", change).unwrap();
            }
            picked_from.at(0)
        });
        assert_eq!(began.unwrap().slot(), "stable");
        assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(0));
    }

    #[tokio::test]
    async fn a_slot_that_nobody_serves_gets_neither_requests_nor_copies() {
        let router = Arc::new(MemoryRouter::default());
        let to = |slot: &str| Mirror {
            slot: slot.to_owned(),
            share: Ratio::ONE,
        };
        let slots = ["stable", "canary"];
        let _follower = router.serve("orders", slots, &weights(1, 0)).unwrap();
        let green = Weights::new([("stable", 1), ("green", 1)]).unwrap();
        let error = router.set_weights("orders", &green).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"slot of orders: "green", expected one of ["canary", "stable"]"#
        );
        let error = router.set_mirror("orders", Some(&to("green"))).await;
        assert!(error.unwrap_err().to_string().contains("mirror of orders"));
        // Nothing of it was set.
        assert_eq!(router.weights("orders").await.unwrap(), Some(weights(1, 0)));
        assert_eq!(router.mirror("orders").await.unwrap(), None);
        // At zero it needs nobody.
        let gone = Weights::new([("stable", 1), ("green", 0)]).unwrap();
        router.set_weights("orders", &gone).await.unwrap();
        router.set_weights("other", &green).await.unwrap();
        assert!(router.serve("other", ["stable"], &gone).is_err());
        assert!(router.serve::<&str>("another", [], &gone).is_err());
        assert_eq!(router.weights("another").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_mirror_stays_while_weights_change() {
        let router = Arc::new(MemoryRouter::default());
        let slots = ["stable", "canary"];
        let mut follower = router.serve("orders", slots, &weights(1, 0)).unwrap();
        let mirror = Mirror {
            slot: "canary".to_owned(),
            share: Ratio::saturating(0.5),
        };
        router.set_mirror("orders", Some(&mirror)).await.unwrap();
        router.set_weights("orders", &weights(3, 1)).await.unwrap();
        assert_eq!(follower.route().unwrap().mirror, Some(mirror.clone()));
        assert_eq!(router.mirror("orders").await.unwrap(), Some(mirror));
        router.set_mirror("orders", None).await.unwrap();
        assert_eq!(follower.route().unwrap().mirror, None);
        assert_eq!(follower.route().unwrap().weights, weights(3, 1));
    }
}
