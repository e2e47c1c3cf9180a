//! The table of paths and the landing page made from it.

use super::{Handler, Reply, Request};
use crate::metrics::Metrics;
use std::sync::Arc;

/// `Content-Type` of the text exposition format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// `Content-Type` of a page.
pub const HTML: &str = "text/html; charset=utf-8";

struct Route {
    path: &'static str,
    about: &'static str,
    answer: Box<Handler>,
}

/// Paths and who answers them. Nothing here may change anything: every route is for `GET` and `HEAD`.
pub struct Routes {
    version: &'static str,
    rows: Vec<Route>,
}

impl Routes {
    /// `/metrics`, `/healthz`, `/-/healthy` and the landing page `/`, which shows `version`.
    pub fn new(version: &'static str, metrics: Arc<Metrics>) -> Routes {
        let exposition = move |_: &Request<'_>| {
            let mut body = Vec::new();
            metrics.render(&mut body);
            Reply::ok(TEXT_FORMAT, body)
        };
        let alive = |_: &Request<'_>| Reply::text(200, "ok\n");
        Routes { version, rows: Vec::new() }
            .with("/metrics", "metrics for Prometheus", exposition)
            .with("/healthz", "whether the agent is alive", alive)
            .with("/-/healthy", "the same", alive)
    }

    /// One more path; `about` is what the landing page says about it.
    #[must_use]
    pub fn with(
        mut self,
        path: &'static str,
        about: &'static str,
        answer: impl Fn(&Request<'_>) -> Reply + Send + Sync + 'static,
    ) -> Routes {
        self.rows.push(Route { path, about, answer: Box::new(answer) });
        self
    }

    /// The handler for [`super::spawn`].
    pub fn into_handler(self) -> Arc<Handler> {
        Arc::new(move |request| self.answer(request))
    }

    fn answer(&self, request: &Request<'_>) -> Reply {
        if request.path == "/" {
            return Reply::ok(HTML, self.landing_page());
        }
        match self.rows.iter().find(|row| row.path == request.path) {
            Some(row) => (row.answer)(request),
            None => Reply::status(404),
        }
    }

    fn landing_page(&self) -> String {
        let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        page.push_str("<title>chaos-agent</title></head>\n<body><h1>chaos-agent</h1>\n<p>Version ");
        page.push_str(self.version);
        page.push_str("</p>\n<ul>\n");
        for Route { path, about, .. } in &self.rows {
            for part in ["<li><a href=\"", path, "\">", path, "</a>: ", about, "</li>\n"] {
                page.push_str(part);
            }
        }
        page.push_str("</ul></body></html>\n");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::Method;

    #[test]
    fn every_row_is_answered_and_linked() {
        let routes = Routes::new("1.2.3", Arc::new(Metrics::new("1.2.3", 1))).with(
            "/status",
            "what is active",
            |_| Reply::text(200, "none\n"),
        );
        let get = |path| routes.answer(&Request { method: Method::Get, path, query: "" });
        let page = String::from_utf8(get("/").body).unwrap();
        assert!(page.contains("Version 1.2.3"), "{page}");
        for path in ["/metrics", "/healthz", "/-/healthy", "/status"] {
            assert_eq!(get(path).status, 200, "{path}");
            assert!(page.contains(&format!("href=\"{path}\"")), "{path} in {page}");
        }
        for path in ["/metrics/", "/nope", "//"] {
            assert_eq!(get(path).status, 404, "{path}");
        }
        assert_eq!(get("/metrics").content_type, TEXT_FORMAT);
    }
}
