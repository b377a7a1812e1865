//! A server that speaks HTTP/1.1 and answers what a test likes, one reply a connection, the last for ever.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with this status and body.
    With(u16, Vec<u8>),
    /// Ends in the middle of the body.
    Half(Vec<u8>),
    /// Says nothing.
    Never,
}

/// A completion in which the model says `content`.
pub(crate) fn saying(content: &str) -> Reply {
    let message = json!({"role": "assistant", "content": content});
    let body = json!({"id": "x", "choices": [{"index": 0, "message": message}]});
    Reply::With(200, body.to_string().into_bytes())
}

/// Starts on a free port; the address to ask, and the requests that came.
pub(crate) async fn start(replies: Vec<Reply>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut open = Vec::new();
        let mut n_served = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            requests.lock().unwrap().push(request);
            let reply = replies.get(n_served).or(replies.last()).unwrap();
            n_served += 1;
            match reply {
                Reply::With(status, body) => answer(&mut stream, *status, body.len(), body).await,
                Reply::Half(body) => answer(&mut stream, 200, 2 * body.len(), body).await,
                Reply::Never => open.push(stream),
            }
        }
    });
    (format!("http://{address}/v1/chat/completions"), seen)
}

async fn answer(stream: &mut TcpStream, status: u16, n_bytes: usize, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {n_bytes}\r\nconnection: close\r\n\r\n");
    // Who asks may be gone.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
}

async fn read(stream: &mut TcpStream) -> String {
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&request);
        let is_whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().ok())?
            });
            body.len() >= length.unwrap_or(0)
        });
        if n == 0 || is_whole {
            return text.into_owned();
        }
    }
}
