//! Whom to ask: `HOST:PORT`, and `http://HOST[:PORT][/PATH][?QUERY]` (RFC 3986).

use super::names;
use crate::cancel::Cancel;
use crate::error;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The longest host name (RFC 1035, 2.3.4, as text).
const LONGEST_NAME: usize = 253;

/// A host and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An address, or a name to be resolved.
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Place {
    /// The place at an address.
    pub fn at(address: IpAddr, port: u16) -> Place {
        Place { host: Host::Address(address.to_canonical()), port }
    }

    /// This machine, by IPv4 and IPv6.
    pub fn local(port: u16) -> Place {
        Place { host: Host::Name("localhost".to_owned()), port }
    }

    /// Reads `HOST:PORT`: an IPv4 address, an IPv6 address in brackets or a name, and a port of 1 to 65535, which
    /// may be absent if there is a default.
    ///
    /// # Errors
    /// What is wrong, to be put behind the text: "has no port; write HOST:PORT".
    pub fn parse(text: &str, default: Option<u16>) -> Result<Place, &'static str> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, port) = rest.split_once(']').ok_or("has no closing bracket")?;
                let address: Ipv6Addr =
                    inside.parse().map_err(|_| "has no IPv6 address between its brackets")?;
                if !port.is_empty() && !port.starts_with(':') {
                    return Err("has more than a port behind its bracket; write [ADDRESS]:PORT");
                }
                // Where there is no IPv6, an IPv4-mapped address could not be connected to.
                (Host::Address(IpAddr::V6(address).to_canonical()), port.strip_prefix(':'))
            }
            None => {
                let (host, port) =
                    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                if port.is_some_and(|port| port.contains(':')) {
                    return Err("looks like an IPv6 address without brackets; write [ADDRESS]:PORT");
                }
                (self::host(host)?, port)
            }
        };
        let port = match (port.unwrap_or(""), default) {
            ("", Some(port)) => port,
            ("", None) => return Err("has no port; write HOST:PORT"),
            // `parse` alone would take a plus sign.
            (digits, _) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0 && digits.bytes().all(|digit| digit.is_ascii_digit()))
                .ok_or("has a wrong port; ports are 1 to 65535")?,
        };
        Ok(Place { host, port })
    }

    /// The addresses to try, in this order; a name is asked for now.
    ///
    /// # Errors
    /// The name does not resolve within `limit`.
    pub(super) fn addresses(&self, limit: Duration, cancel: &Cancel) -> error::Result<Vec<SocketAddr>> {
        let found = match &self.host {
            Host::Address(address) => vec![*address],
            // RFC 6761, 6.3: always the loopback; a scratch image may have no hosts file that says so.
            Host::Name(name) if name.eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Host::Name(name) => names::lookup(name, limit, cancel)?,
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }
}

fn host(text: &str) -> Result<Host, &'static str> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    match is_name(text) {
        true => Ok(Host::Name(text.to_owned())),
        false if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.is_empty() => {
            Err("has an IPv4 address that is none")
        }
        false => Err("has no host name or address that can be asked"),
    }
}

/// Whether this is a host name that can be asked for: letters, digits, dots, dashes and underscores. What ends in a
/// number is none (127.1, 0x7f000001, 010.0.0.1): getaddrinfo(3) would make an address of it, and not the one that
/// was meant.
pub fn is_name(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bare = text.strip_suffix('.').unwrap_or(text);
    let last = bare.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = match hex {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    !bare.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(letters) && !number
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A plain http address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whom to ask.
    pub place: Place,
    /// Path and query, as they go over the wire: starts with a slash.
    path: String,
}

impl Url {
    /// The URL of a path (with its query) at a place.
    pub fn new(place: Place, path: &str) -> Url {
        Url { place, path: path.to_owned() }
    }

    /// Reads an address. The port is 80 by default, a fragment is left out, and nothing is escaped or unescaped.
    ///
    /// # Errors
    /// What is wrong, to be put behind the text: "has no scheme; write http://HOST[:PORT][/PATH]".
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "has a blank, a control character or a letter outside of ASCII; write it as %20 and the like",
            );
        }
        let (scheme, rest) =
            text.split_once("://").ok_or("has no scheme; write http://HOST[:PORT][/PATH]")?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(
                "needs TLS, which the agent does not have; ask a plain http:// port, or only whether the port \
                 is open (tcp)",
            );
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("has a scheme that the agent does not have; only http:// can be asked");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("has a user name, which would not be sent; remove it");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url { place: Place::parse(authority, Some(80))?, path: format!("{slash}{path}") })
    }

    /// The request, whole.
    pub(super) fn request(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: chaos-agent/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path,
            self.place,
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// Without the query, which may hold a secret.
impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let hidden = if query.is_empty() { "" } else { "?***" };
        write!(f, "http://{}{path}{hidden}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_printed_without_its_query() {
        for (text, wanted) in [
            ("http://127.0.0.1:8080/healthz", "http://127.0.0.1:8080/healthz"),
            ("HTTP://app", "http://app:80/"),
            ("http://app:/x", "http://app:80/x"),
            ("http://[::1]:9/a?b=[c]#d", "http://[::1]:9/a?***"),
            ("http://[fd00::2]", "http://[fd00::2]:80/"),
            ("http://my_app.ns.svc:65535?x=1@2/3", "http://my_app.ns.svc:65535/?***"),
            ("http://[::ffff:10.0.0.1]:9/", "http://10.0.0.1:9/"),
            ("http://0xapp.1x./", "http://0xapp.1x.:80/"),
            ("http://a/b:c@d", "http://a:80/b:c@d"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), wanted, "{text}");
            if !wanted.contains('?') {
                assert_eq!(Url::parse(wanted).unwrap(), url, "{text}");
            }
        }
        let request = Url::parse("http://[::1]/a?b").unwrap().request();
        assert!(request.starts_with("GET /a?b HTTP/1.1\r\nHost: [::1]:80\r\n"), "{request}");
        assert!(request.ends_with("\r\nConnection: close\r\n\r\n"), "{request}");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_reason() {
        for (text, word) in [
            ("", "scheme"),
            ("localhost:80/x", "scheme"),
            ("https://a/", "TLS"),
            ("ftp://a/", "only http://"),
            ("http://", "host name"),
            ("http:///x", "host name"),
            ("http://:80/", "host name"),
            ("http://a b/", "%20"),
            ("http://a/\r\nX: y", "%20"),
            ("http://\u{e4}/", "%20"),
            ("http://u:p@a/", "user name"),
            ("http://a:0/", "65535"),
            ("http://a:+8/", "65535"),
            ("http://a:65536/", "65535"),
            ("http://a:1:2/", "brackets"),
            ("http://::1/", "brackets"),
            ("http://[::1/", "bracket"),
            ("http://[::1]8/", "bracket"),
            ("http://[fe80::1%eth0]/", "IPv6"),
            ("http://256.0.0.1/", "IPv4"),
            ("http://127.1/", "IPv4"),
            ("http://0x7f000001/", "host name"),
            ("http://app.0x7f/", "host name"),
            ("http://a%/", "host name"),
        ] {
            let why = Url::parse(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        assert_eq!(Place::parse("a", None).unwrap_err(), "has no port; write HOST:PORT");
        assert_eq!(Place::parse("[::1]:5432", None).unwrap().to_string(), "[::1]:5432");
    }
}
