//! The names in a certificate, and which hosts they are for.

/// Lower case; `*.example.com` is one label and the rest. Addresses as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames(pub Vec<String>);

impl CertificateNames {
    /// Whether a host is one of them to the letter.
    pub fn have(&self, host: &str) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether one of them is for a host (RFC 9525 section 6.3), as it stands in an authority.
    pub fn cover(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        self.0.iter().any(|name| match name.strip_prefix('*') {
            Some(rest) => host.split_once('.').is_some_and(|(label, _)| {
                !label.is_empty() && host[label.len()..].eq_ignore_ascii_case(rest)
            }),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_its_names_and_one_label_of_a_wildcard() {
        let names = ["wiki.example.com", "*.example.org", "192.0.2.1", "2001:db8::1"];
        let names = CertificateNames(names.map(str::to_owned).to_vec());
        for host in ["wiki.example.com", "WIKI.example.com", "a.Example.org", "192.0.2.1", "[2001:db8::1]"] {
            assert!(names.cover(host), "{host}");
        }
        for host in [
            "example.com",
            "a.wiki.example.com",
            "example.org",
            "a.b.example.org",
            ".example.org",
            "192.0.2.2",
            "",
        ] {
            assert!(!names.cover(host), "{host}");
        }
    }
}
