//! The wiki's pages. Whatever came from a request passes `escape` before it is written.

use std::borrow::Cow;

/// The signed-in person, as far as the application was told.
type User<'a> = Option<&'a str>;

pub(super) fn front(user: User<'_>) -> String {
    layout("Main page", user, FRONT)
}

pub(super) fn phone_list(user: User<'_>) -> String {
    layout("Internal phone list", user, PHONE_LIST)
}

pub(super) fn backups(user: User<'_>) -> String {
    layout("How the backups work", user, BACKUPS)
}

pub(super) fn remarks(user: User<'_>) -> String {
    layout("Leave a remark", user, REMARK_FORM)
}

pub(super) fn clock(user: User<'_>) -> String {
    layout("Workshop clock", user, CLOCK)
}

/// Repeats a form that was sent.
pub(super) fn remark(user: User<'_>, form: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let content = format!("<p>Thank you. This is what arrived:</p>{}{REMARK_FORM}", table(form));
    layout("Remark received", user, &content)
}

/// Repeats the request itself.
pub(super) fn request(user: User<'_>, line: &str, fields: &[(String, String)]) -> String {
    let line = escape(line);
    let content =
        format!("<p>Your request, as this server received it:</p><pre>{line}</pre>{}", table(fields));
    layout("What this server was told", user, &content)
}

pub(super) fn not_found(user: User<'_>, path: &str) -> String {
    let content = format!("<p>There is no page named <tt>{}</tt>.</p>", escape(path));
    layout("No such page", user, &content)
}

pub(super) fn not_allowed(user: User<'_>) -> String {
    layout("Not possible", user, "<p>This page can only be read.</p>")
}

pub(super) fn too_long(user: User<'_>) -> String {
    layout("Too long", user, "<p>The remark was too long or did not arrive whole.</p>")
}

fn layout(title: &str, user: User<'_>, content: &str) -> String {
    let visitor = user.map_or_else(
        || "You are <b>nobody in particular</b>: no X-Forwarded-User field arrived.".to_owned(),
        |user| format!("You are <b>{}</b>.", escape(user)),
    );
    format!("{HEAD}<title>{title} - Workshop Wiki</title>{STYLE}{MENU}<h1>{title}</h1>{content}{FOOT}")
        .replacen("{visitor}", &visitor, 1)
}

fn table<T: AsRef<str>>(rows: &[(T, T)]) -> String {
    let row = |(name, value): &(T, T)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(name.as_ref()), escape(value.as_ref()))
    };
    format!("<table border=1>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

/// Text as HTML text or attribute value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
"#;

const STYLE: &str = r"
<style>
body { font: 13px Verdana, Arial, sans-serif; background: #dfe6ee; color: #222; margin: 0; }
#page { max-width: 760px; margin: 12px auto; background: #fff; border: 1px solid #789; }
#top { background: #336699; color: #fff; padding: 8px 12px; }
#top b { color: #ffc; }
#menu { background: #eee; border-bottom: 1px solid #bbb; padding: 6px 12px; }
#content { padding: 4px 12px 16px; }
h1 { font-size: 18px; border-bottom: 1px dotted #999; }
a { color: #00c; }
form { display: inline; }
table { border-collapse: collapse; }
td, th { padding: 3px 8px; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
#foot { font-size: 11px; color: #666; border-top: 1px solid #bbb; padding: 6px 12px; }
</style></head>";

const MENU: &str = r#"<body><div id="page">
<div id="top"><form method="post" action="/.vestibule/sign-out" style="float: right">
<button type="submit">Sign out</button></form>Workshop Wiki &nbsp; {visitor}</div>
<div id="menu"><a href="/">Main page</a> | <a href="/phone-list">Phone list</a> |
<a href="/backups">Backups</a> | <a href="/remarks">Remarks</a> | <a href="/clock">Clock</a> |
<a href="/request">What this server was told</a></div>
<div id="content">"#;

const FOOT: &str = r#"</div>
<div id="foot">Powered by TinyWiki 0.7 (2009). This tool has no accounts and no passwords of its own:
whoever sees this page came through the gateway.</div></div></body></html>
"#;

const FRONT: &str = r#"<p>Welcome to the wiki of the workshop. If you can read this, you got in.</p>
<ul>
<li><a href="/phone-list">Internal phone list</a>: who sits where</li>
<li><a href="/backups">How the backups work</a>: please read before touching the shelf</li>
<li><a href="/remarks">Leave a remark</a>: a form, to see that forms arrive</li>
<li><a href="/clock">Workshop clock</a>: ticks, to see that streams arrive</li>
<li><a href="/request">What this server was told</a>: every field of your request, such as
X-Forwarded-User</li>
</ul>
<p><b>News, 14 May 2009:</b> the coffee machine has moved next to the plotter.</p>"#;

const PHONE_LIST: &str = r#"<table border=1>
<tr><th>Extension</th><th>Name</th><th>Room</th></tr>
<tr><td>100</td><td>Reception</td><td>Ground floor</td></tr>
<tr><td>117</td><td>Workshop</td><td>Yard, left door</td></tr>
<tr><td>142</td><td>Accounts</td><td>2.04</td></tr>
<tr><td>199</td><td>Server room</td><td>Cellar (let it ring)</td></tr>
</table>
<p>Wrong number? <a href="/remarks">Leave a remark</a>.</p>"#;

const BACKUPS: &str = r#"<ol>
<li>The tape of the day is the one with the weekday on it.</li>
<li>Change it before noon. The drive is in the server room, see the
<a href="/phone-list">phone list</a>.</li>
<li>Friday's tape goes to the bank.</li>
</ol>"#;

const REMARK_FORM: &str = r#"<form method="post" action="/remarks">
<p><label>Page<br><input name="page" size="30"></label></p>
<p><label>Remark<br><textarea name="remark" rows="5" cols="50"></textarea></label></p>
<p><input type="submit" value="Send"></p>
</form>"#;

const CLOCK: &str = r#"<p>The server's time, as server-sent events from <a href="/events">/events</a>:</p>
<p><b id="clock">(waiting for the first tick)</b></p>
<script>
new EventSource("/events").addEventListener("tick", function (event) {
  document.getElementById("clock").textContent = event.data;
});
</script>"#;

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<script>alert('1')</script>\"&";

    #[test]
    fn nothing_from_a_request_becomes_markup() {
        let form = [(Cow::from(HOSTILE), Cow::from(HOSTILE))];
        let fields = [(HOSTILE.to_owned(), HOSTILE.to_owned())];
        let user = Some(HOSTILE);
        let pages =
            [remark(user, &form), request(user, HOSTILE, &fields), not_found(user, HOSTILE), front(user)];
        for page in pages {
            assert!(!page.contains("<script>alert"), "{page}");
            assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"), "{page}");
        }
    }

    #[test]
    fn every_page_names_the_visitor_and_lets_them_sign_out() {
        for page in [front(Some("ada")), phone_list(Some("ada")), backups(Some("ada")), clock(Some("ada"))] {
            assert!(page.contains("You are <b>ada</b>."));
            assert!(page.contains(r#"<form method="post" action="/.vestibule/sign-out""#));
        }
        assert!(front(None).contains("nobody in particular"));
    }
}
