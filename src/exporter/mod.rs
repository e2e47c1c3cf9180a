//! What Prometheus reads: the metrics and the HTTP server that gives them out.

pub mod http;
pub mod metrics;
