//! An upstream by a real HTTP library, over TLS or without, whose every request the test answers itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

type Pieces = std::pin::Pin<Box<dyn stream::Stream<Item = std::io::Result<Frame<Bytes>>> + Send>>;
pub type Body = Either<Full<Bytes>, StreamBody<Pieces>>;
type Answer = Result<Response<Body>, h2::Error>;

/// A body of one piece.
pub fn whole(text: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(text.into()))
}

/// A body that the test sends piece by piece; an error breaks it off.
pub fn pieces() -> (mpsc::UnboundedSender<std::io::Result<Frame<Bytes>>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let next = |mut receiver: mpsc::UnboundedReceiver<std::io::Result<Frame<Bytes>>>| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    };
    (sender, Either::Right(StreamBody::new(Box::pin(stream::unfold(receiver, next)))))
}

/// A request that waits for its answer.
pub struct Asked {
    pub request: Request<Incoming>,
    answer: oneshot::Sender<Answer>,
}

impl Asked {
    /// Answers it; gives what is left of the request.
    pub fn answer(self, answer: Response<Body>) -> Request<Incoming> {
        let _ = self.answer.send(Ok(answer));
        self.request
    }

    /// Answers 200 with this text.
    pub fn say(self, text: &'static str) -> Request<Incoming> {
        self.answer(Response::new(whole(text)))
    }

    /// Resets its stream.
    pub fn reset(self, reason: h2::Reason) {
        let _ = self.answer.send(Err(reason.into()));
    }

    /// Waits until the request was given up.
    pub async fn given_up(mut self) {
        timeout(PATIENCE, self.answer.closed()).await.expect("given up in time");
    }

    /// All of its body, with its trailers as `name: value` lines.
    pub async fn body(&mut self) -> (String, Vec<String>) {
        collect(self.request.body_mut()).await
    }
}

/// All of a body, and its trailers as `name: value` lines.
pub async fn collect(body: &mut Incoming) -> (String, Vec<String>) {
    let all = timeout(PATIENCE, body.collect()).await.expect("a body in time").unwrap();
    let trailers = all.trailers().into_iter().flatten();
    let trailers = trailers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    (String::from_utf8(all.to_bytes().to_vec()).unwrap(), trailers)
}

/// How an origin speaks.
#[derive(Clone, Default)]
pub struct Manner {
    pub tls: Option<Arc<ServerConfig>>,
    /// HTTP/2 without TLS; with TLS the client chooses.
    pub http2: bool,
    /// Streams of one connection; 0 is many.
    pub streams: u32,
}

pub struct Origin {
    pub address: SocketAddr,
    asked: Mutex<mpsc::UnboundedReceiver<Asked>>,
    connections: Arc<AtomicUsize>,
    leave: Arc<Notify>,
}

impl Origin {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let (connections, leave) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let (counted, leaving) = (connections.clone(), leave.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (manner, sender, leaving) = (manner.clone(), sender.clone(), leaving.clone());
                tokio::spawn(async move {
                    let Some(tls) = manner.tls.clone() else {
                        let http2 = manner.http2;
                        return serve(stream, http2, manner.streams, sender, leaving).await;
                    };
                    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, http2, manner.streams, sender, leaving).await;
                });
            }
        });
        Self { address, asked: Mutex::new(asked), connections, leave }
    }

    /// The next request.
    pub async fn next(&self) -> Asked {
        let mut asked = self.asked.lock().await;
        timeout(PATIENCE, asked.recv()).await.expect("a request in time").unwrap()
    }

    /// Whether no request is there.
    pub async fn has_none(&self) -> bool {
        self.asked.lock().await.is_empty()
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends the open connections gently: GOAWAY, and what is under way goes on.
    pub fn leave(&self) {
        self.leave.notify_waiters();
    }
}

async fn serve<S>(
    stream: S,
    http2: bool,
    streams: u32,
    sender: mpsc::UnboundedSender<Asked>,
    leave: Arc<Notify>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let sender = sender.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let _ = sender.send(Asked { request, answer });
            answered.await.unwrap_or_else(|_| Err(h2::Reason::INTERNAL_ERROR.into()))
        }
    });
    let stream = TokioIo::new(stream);
    if !http2 {
        let _ = http1::Builder::new().serve_connection(stream, service).await;
        return;
    }
    let mut builder = http2::Builder::new(TokioExecutor::new());
    if streams > 0 {
        builder.max_concurrent_streams(streams);
    }
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = leave.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// An authority, and what it issues.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("Authority {}", NUMBER.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// TLS for a server of this name, which offers these protocols; with `clients` it wants a certificate of theirs.
    pub fn serves(&self, name: &str, protocols: &[&str], clients: Option<&Self>) -> Arc<ServerConfig> {
        let issued = self.issue(name);
        let chain =
            CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
