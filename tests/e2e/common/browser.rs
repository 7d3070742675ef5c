//! A browser as far as HTTP goes: it keeps cookies, follows nothing by itself, and reads forms out of pages.

use std::net::SocketAddr;
use std::sync::Mutex;

use reqwest::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::Simulator;

#[derive(Debug)]
pub struct Browser {
    client: reqwest::Client,
    address: SocketAddr,
    jar: Mutex<Vec<(String, String)>>,
}

pub const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// An answer, read whole.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Page {
    async fn of(answer: Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, text: answer.text().await.unwrap() }
    }

    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |location| location.to_str().unwrap())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The reference on the page, `K7QX-2MHD`.
    pub fn reference(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("<p>Reference ")?;
        rest.get(..9)
    }
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { client, address, jar: Mutex::default() }
    }

    /// The same cookies in another browser: what a thief of them has.
    pub fn stolen(&self) -> Self {
        let thief = Self::new(self.address);
        *thief.jar.lock().unwrap() = self.jar.lock().unwrap().clone();
        thief
    }

    /// The gateway listens elsewhere now.
    pub fn moved_to(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().unwrap().iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap();
        jar.retain(|(known, _)| known != name);
        jar.push((name.to_owned(), value.to_owned()));
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let cookies: Vec<_> =
            self.jar.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Page {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let again = request.try_clone().filter(|request| request.method() == Method::GET);
        let answer = match (client.execute(request).await, again) {
            (Ok(answer), _) => answer,
            // As browsers do when a kept connection turns out to be closed.
            (Err(_), Some(again)) => client.execute(again).await.unwrap(),
            (Err(error), None) => panic!("{error}"),
        };
        let page = Page::of(answer).await;
        for cookie in page.headers.get_all(SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            let gone = cookie.to_str().unwrap().contains("Max-Age=0");
            self.jar.lock().unwrap().retain(|(known, _)| known != name);
            if !gone {
                self.jar.lock().unwrap().push((name.to_owned(), value.to_owned()));
            }
        }
        page
    }

    /// Goes to a page.
    pub async fn go(&self, path: &str) -> Page {
        self.send(self.request(Method::GET, path).header(ACCEPT, HTML)).await
    }

    /// What a script's fetch gets.
    pub async fn fetch(&self, path: &str) -> Page {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a form.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.submit_from_site(&format!("http://{}", self.address), path, fields).await
    }

    /// The same from a page of another site.
    pub async fn submit_from_site(&self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(self.request(Method::POST, path).header(ACCEPT, HTML).header("origin", origin).form(fields))
            .await
    }

    /// Asks for a code: the form of the challenge page.
    pub async fn start(&self, phone: &str) -> Page {
        self.submit("/.vestibule/challenge/start", &[("phone", phone), ("return_to", "/")]).await
    }

    /// Types a code.
    pub async fn verify(&self, code: &str) -> Page {
        self.submit("/.vestibule/challenge/verify", &[("code", code)]).await
    }

    /// Signs in, from the number to the session cookie.
    pub async fn sign_in(&self, simulator: &Simulator, phone: &str) {
        let started = self.start(phone).await;
        assert_eq!(started.status, StatusCode::SEE_OTHER, "{}", started.text);
        let verified = self.verify(&simulator.code(phone).await).await;
        assert_eq!(verified.status, StatusCode::SEE_OTHER, "{}", verified.text);
        assert!(self.cookie("vestibule").is_some());
    }

    /// Calls the JSON API.
    pub async fn api(&self, what: &str, body: &serde_json::Value) -> Page {
        self.send(self.request(Method::POST, &format!("/.vestibule/api/otp/{what}")).json(body)).await
    }
}
