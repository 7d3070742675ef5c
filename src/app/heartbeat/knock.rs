//! A request of our own, through the front door like everybody's: it is answered only when a thread accepts, speaks TLS
//! and finds its pages.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::pages::BASE;
use crate::server::front::Serving;

/// What is asked for: it is there for everybody, and needs neither store nor session.
const ASSET: &str = "/assets/vestibule.css";

/// Where the gateway is reached from this machine, and how.
#[derive(Debug)]
pub(super) struct Door {
    place: Option<Place>,
    host: String,
    /// Whether TLS is spoken.
    tls: bool,
    /// Whether a PROXY header is wanted of us.
    says_proxy: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Door {
    pub(super) fn of(serving: &Serving, addresses: &[String], proxy_protocol: bool) -> Self {
        let site = &serving.generation.site;
        let place = addresses.iter().find_map(|address| place(address));
        let says_proxy = proxy_protocol
            && place.as_ref().is_some_and(|place| match place {
                Place::Tcp(address) => site.trusts(address.ip()),
                Place::Unix(_) => true,
            });
        Self { place, host: site.a_host().to_owned(), tls: serving.tls.is_some(), says_proxy }
    }

    /// So many requests, each on a connection of its own: the kernel spreads them over the threads.
    pub(super) async fn knock(&self, times: usize) -> io::Result<()> {
        for _ in 0..times {
            match &self.place {
                Some(Place::Tcp(address)) => answered(self.ask(TcpStream::connect(address).await?).await)?,
                Some(Place::Unix(path)) => answered(self.ask(UnixStream::connect(path).await?).await)?,
                None => return Err(io::Error::other("there is no address to ask at")),
            }
        }
        Ok(())
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> io::Result<()> {
        if self.says_proxy {
            stream.write_all(b"PROXY UNKNOWN\r\n").await?;
        }
        if !self.tls {
            return self.get(stream).await;
        }
        let name =
            ServerName::try_from(self.host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(client()?));
        self.get(connector.connect(name, stream).await?).await
    }

    async fn get<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> io::Result<()> {
        let request =
            format!("GET {BASE}{ASSET} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.host);
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut status = [0; STATUS.len()];
        stream.read_exact(&mut status).await?;
        if status == *STATUS {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&status).into_owned()))
        }
    }
}

/// Whatever the answer is, one that is not "not now" included: a thread that answers works.
const STATUS: &[u8; 9] = b"HTTP/1.1 ";

/// A thread that refuses us for what we do not have, or it does not have yet, works: we show no certificate where
/// `client_ca` wants one, and before an authority has issued ours there is none to show. Killing the gateway mends
/// neither, and each start would ask the authority again.
fn answered(asked: io::Result<()>) -> io::Result<()> {
    match asked {
        Err(error) if is_refusal(&error) => Ok(()),
        Ok(()) | Err(_) => asked,
    }
}

fn is_refusal(error: &io::Error) -> bool {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::AlertReceived(said)) = said else { return false };
    [AlertDescription::CertificateRequired, AlertDescription::AccessDenied].contains(said)
}

/// Whoever listens at no address in particular is reached at this machine's own.
fn place(address: &str) -> Option<Place> {
    if let Some(path) = address.strip_prefix("unix:") {
        // unix(7): an abstract name begins with a zero byte.
        let path = path.strip_prefix('@').map_or_else(|| path.to_owned(), |name| format!("\0{name}"));
        return (!path.is_empty()).then(|| Place::Unix(path.into()));
    }
    let mut address: SocketAddr = address.parse().ok()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Some(Place::Tcp(address))
}

fn client() -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let verifier = Arc::new(Ourselves(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes every certificate: nothing is told to whoever answers and nothing of the answer is believed but that there is
/// one. A certificate that has expired is no reason to kill the gateway.
#[derive(Debug)]
struct Ourselves(Arc<CryptoProvider>);

impl ServerCertVerifier for Ourselves {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
