//! The table of paths.

use super::{Handler, Reply, Request};
use crate::exporter::metrics::Metrics;
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

/// Makes the page at `/` from the paths and what they are, and the query of the request.
type Page = dyn Fn(&[(&str, &str)], &str) -> String + Send + Sync;

/// Paths and who answers them. Nothing here may change anything: every route is for `GET` and `HEAD`.
pub struct Routes {
    page: Box<Page>,
    rows: Vec<Route>,
}

impl Routes {
    /// `/metrics`, `/healthz`, `/-/healthy`, and `/`, for which `page` gets the paths with what they are, and the query.
    pub fn new(
        metrics: Arc<Metrics>,
        page: impl Fn(&[(&str, &str)], &str) -> String + Send + Sync + 'static,
    ) -> Routes {
        let exposition = move |_: &Request<'_>| {
            let mut body = Vec::new();
            metrics.render(&mut body);
            Reply::ok(TEXT_FORMAT, body)
        };
        let alive = |_: &Request<'_>| Reply::text(200, "ok\n");
        Routes { page: Box::new(page), rows: Vec::new() }
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
            let links: Vec<_> = self.rows.iter().map(|row| (row.path, row.about)).collect();
            return Reply::ok(HTML, (self.page)(&links, request.query));
        }
        match self.rows.iter().find(|row| row.path == request.path) {
            Some(row) => (row.answer)(request),
            None => Reply::status(404),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::Method;

    #[test]
    fn every_row_is_answered_and_linked() {
        let page = |links: &[(&str, &str)], query: &str| format!("{links:?} {query:?}");
        let routes =
            Routes::new(Arc::new(Metrics::new("1.2.3", 1)), page)
                .with("/status", "what is active", |_| Reply::text(200, "none\n"));
        let get = |path| routes.answer(&Request { method: Method::Get, path, query: "a=b" });
        let page = String::from_utf8(get("/").body).unwrap();
        assert!(page.ends_with(" \"a=b\""), "{page}");
        for path in ["/metrics", "/healthz", "/-/healthy", "/status"] {
            assert_eq!(get(path).status, 200, "{path}");
            assert!(page.contains(&format!("(\"{path}\", ")), "{path} in {page}");
        }
        for path in ["/metrics/", "/nope", "//"] {
            assert_eq!(get(path).status, 404, "{path}");
        }
        assert_eq!(get("/metrics").content_type, TEXT_FORMAT);
    }
}
