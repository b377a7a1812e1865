//! One router for services that are routed in different ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::ConfigError;
use homeostasis_core::port::{Mirror, TrafficError, TrafficRouter, Weights};

/// Asks for each service the router that the host named for it: one behind `HAProxy`, one in the process.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::port::MemoryRouter;
/// use homeostasis::remediate::traffic::RouterByService;
///
/// let in_process = Arc::new(MemoryRouter::default());
/// let router = RouterByService::default().service("orders", in_process)?;
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct RouterByService {
    routers: BTreeMap<String, Arc<dyn TrafficRouter>>,
}

impl RouterByService {
    /// The same with one service more.
    ///
    /// # Errors
    /// If the service has a router.
    pub fn service(
        mut self,
        service: impl Into<String>,
        router: Arc<dyn TrafficRouter>,
    ) -> Result<Self, ConfigError> {
        let service = service.into();
        if self.routers.contains_key(&service) {
            let found = format!("{service:?}");
            return Err(ConfigError::single(
                "routers",
                found,
                "one router for each service",
            ));
        }
        self.routers.insert(service, router);
        Ok(self)
    }

    fn of(&self, service: &str) -> Result<&dyn TrafficRouter, TrafficError> {
        let router = self.routers.get(service);
        router.map(|router| &**router).ok_or_else(|| {
            let known: Vec<_> = self.routers.keys().collect();
            let detail = format!("{service:?}, expected one of {known:?}");
            TrafficError::invalid("service", detail)
        })
    }
}

#[async_trait]
impl TrafficRouter for RouterByService {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        self.of(service)?.set_weights(service, weights).await
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        match self.routers.get(service) {
            Some(router) => router.weights(service).await,
            None => Ok(None),
        }
    }

    async fn set_mirror(&self, service: &str, mirror: Option<&Mirror>) -> Result<(), TrafficError> {
        self.of(service)?.set_mirror(service, mirror).await
    }

    async fn mirror(&self, service: &str) -> Result<Option<Mirror>, TrafficError> {
        match self.routers.get(service) {
            Some(router) => router.mirror(service).await,
            None => Ok(None),
        }
    }

    async fn in_flight(&self, service: &str, slot: &str) -> Result<Option<u64>, TrafficError> {
        match self.routers.get(service) {
            Some(router) => router.in_flight(service, slot).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::port::MemoryRouter;

    use super::*;

    #[tokio::test]
    async fn each_service_has_its_own_router_and_a_strange_one_is_named() {
        let [a, b] = [(), ()].map(|()| Arc::new(MemoryRouter::default()));
        let shared = |router: &Arc<MemoryRouter>| -> Arc<dyn TrafficRouter> {
            Arc::<MemoryRouter>::clone(router)
        };
        let router = RouterByService::default();
        let router = router.service("orders", shared(&a)).unwrap();
        let router = router.service("carts", shared(&b)).unwrap();
        assert!(router.clone().service("carts", shared(&a)).is_err());
        let green = Weights::new([("green", 1)]).unwrap();
        router.set_weights("carts", &green).await.unwrap();
        assert_eq!(a.weights("carts").await.unwrap(), None);
        assert_eq!(b.weights("carts").await.unwrap(), Some(green.clone()));
        assert_eq!(router.weights("carts").await.unwrap(), Some(green.clone()));
        let error = router.set_weights("cart", &green).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"service: "cart", expected one of ["carts", "orders"]"#
        );
        assert_eq!(router.weights("cart").await.unwrap(), None);
        let error = router.set_mirror("cart", None).await.unwrap_err();
        assert!(error.to_string().contains("expected one of"), "{error}");
    }
}
