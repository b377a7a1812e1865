//! Which causes are effects of others.

/// What a cause can explain on its own service, and be explained by.
pub(crate) fn is_effect(cause: &str) -> bool {
    matches!(
        cause,
        "slow_response"
            | "error_rate"
            | "connection_refused"
            | "slow_dependency"
            | "behavior_change"
    )
}

/// Whether it works later: what grows when it has grown, and what was changed when it is used, which
/// may be at the next start, or when a cache has expired.
pub(crate) fn is_latent(cause: &str) -> bool {
    matches!(
        cause,
        "memory_leak"
            | "thread_leak"
            | "descriptor_leak"
            | "resource_growth"
            | "disk_full"
            | "bad_deploy"
            | "configuration_error"
    )
}

/// How much of the evidence for `cause` an illness of a callee can explain, 0 to 1.
pub(crate) fn shows_a_callee(cause: &str) -> f64 {
    match cause {
        "bad_deploy" | "configuration_error" => 1.0,
        "memory_leak" | "thread_leak" | "descriptor_leak" | "resource_growth" => 0.5,
        _ if is_effect(cause) => 1.0,
        _ => 0.0,
    }
}
