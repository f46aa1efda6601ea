// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/notification"
)

const key, oldKey = "present-key-with-32-characters-00", "whsec_b2xkLWtleS13aXRoLTMyLWNoYXJhY3RlcnMtMDA="

var now = time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func testEvent() *notification.Event {
	e := notification.Deleted(notification.KindRollout, "fleet", "firmware-2", "1f0c", now)
	return &e
}

// sender returns a sender to a server, with further keys of the Secret.
func sender(t *testing.T, url string, more map[string]string) *Sender {
	t.Helper()
	data := map[string][]byte{KeyURL: []byte(url), KeyKey: []byte(key), KeyAllowHTTP: []byte("true")}
	for name, value := range more {
		data[name] = []byte(value)
	}
	e, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSender(e, clock)
	t.Cleanup(s.Close)
	return s
}

func answering(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// TestRequestIsASignedCloudEvent reads a request with the SDK of CloudEvents, and verifies it with
// the example of docs/notifications.md, with the present key and with the key before it.
func TestRequestIsASignedCloudEvent(t *testing.T) {
	var header http.Header
	var body []byte
	url := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	})
	s := sender(t, url, map[string]string{KeyPreviousKey: oldKey, KeyToken: "bearer-token", KeyHeaders: "X-Team: fleet\n\nX-Team: two", KeySource: "https://goshawk.example/a"})
	if result := s.Send(t.Context(), testEvent()); result.Outcome != Delivered || result.Err != nil {
		t.Fatalf("%+v", result)
	}
	for name, want := range map[string][]string{
		"Content-Type": {"application/cloudevents+json"}, "Authorization": {"Bearer bearer-token"}, "X-Team": {"fleet", "two"}, "User-Agent": {"goshawk"},
		HeaderID: {"1f0c:deleted"}, HeaderTimestamp: {"1796090400"},
	} {
		if !slices.Equal(header[name], want) {
			t.Errorf("header %s: %q, want %q", name, header[name], want)
		}
	}
	for _, k := range []string{key, "old-key-with-32-characters-00"} {
		if err := verify(header, body, []byte(k), now.Add(4*time.Minute)); err != nil {
			t.Errorf("key %s: %v", k, err)
		}
	}
	for name, change := range map[string]func() error{
		"another key":       func() error { return verify(header, body, []byte("another-key-with-32-characters-0"), now) },
		"another body":      func() error { return verify(header, append([]byte(" "), body...), []byte(key), now) },
		"a replay":          func() error { return verify(header, body, []byte(key), now.Add(6*time.Minute)) },
		"a time in advance": func() error { return verify(header, body, []byte(key), now.Add(-6*time.Minute)) },
		"another id": func() error {
			changed := header.Clone()
			changed.Set(HeaderID, "2f0c:deleted")
			return verify(changed, body, []byte(key), now)
		},
	} {
		if change() == nil {
			t.Errorf("%s is verified", name)
		}
	}
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
	request.Header = header
	got, err := cehttp.NewEventFromHTTPRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"specversion": "1.0", "id": "1f0c:deleted", "source": "https://goshawk.example/a", "type": "dev.goshawk.rollout.deleted.v1",
		"subject": "namespaces/fleet/rollouts/firmware-2", "time": "2026-12-01T02:00:00Z", "datacontenttype": "application/json", "partitionkey": "1f0c",
		"data": map[string]any{
			"kind": "Rollout", "namespace": "fleet", "name": "firmware-2", "uid": "1f0c", "decision": "deleted", "severity": "Normal",
			"reason": "Deleted", "message": "Rollout firmware-2 was deleted", "state": "Deleted",
		},
	}
	encoded, _ := json.Marshal(got)
	decoded := map[string]any{}
	_ = json.Unmarshal(encoded, &decoded)
	if d := cmp.Diff(want, decoded); d != "" {
		t.Errorf("event (-want +got):\n%s", d)
	}
}

// TestDocumentedVerificationIsThatOfTheTest compares the example in the documentation with the
// function that the test above runs.
func TestDocumentedVerificationIsThatOfTheTest(t *testing.T) {
	source, err := os.ReadFile("verify_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, function, found := strings.Cut(string(source), "// verify "); !found || !strings.Contains(string(page), "// verify "+function) {
		t.Error("docs/notifications.md does not have the function verify of verify_test.go")
	}
}

func TestStatusDecidesTheOutcome(t *testing.T) {
	for _, test := range []struct {
		name    string
		status  int
		after   string
		want    Outcome
		delay   time.Duration
		mention string
	}{
		{"accepted", 202, "", Delivered, 0, ""},
		{"no content", 204, "", Delivered, 0, ""},
		{"a redirect", 307, "", Failed, 0, "redirects are not followed"},
		{"a bad request is dropped", 400, "", Refused, 0, "400 Bad Request"},
		{"an event that is too large is dropped", 413, "", Refused, 0, ""},
		{"an event of an unknown form is dropped", 422, "", Refused, 0, ""},
		{"wrong credentials", 401, "", Failed, 0, "check key, token and headers"},
		{"a wrong path", 404, "", Failed, 0, "check url"},
		{"a conflict", 409, "", Failed, 0, ""},
		{"a receiver that is gone", 410, "", Gone, 0, ""},
		{"too many requests", 429, "7", Failed, 7 * time.Second, ""},
		{"too many requests until a time", 429, "Tue, 01 Dec 2026 02:00:09 GMT", Failed, 9 * time.Second, ""},
		{"too many requests until a time in the past", 429, "Tue, 01 Dec 2026 01:00:09 GMT", Failed, 0, ""},
		{"an unreadable delay", 429, "soon", Failed, 0, ""},
		{"an internal error", 500, "5", Failed, 0, "500 Internal Server Error"},
		{"unavailable", 503, "5", Failed, 5 * time.Second, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			followed := false
			url := answering(t, func(w http.ResponseWriter, r *http.Request) {
				followed = followed || r.URL.Path == "/elsewhere"
				w.Header().Set("Retry-After", test.after)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
			})
			got := sender(t, url, nil).Send(t.Context(), testEvent())
			if got.Outcome != test.want || got.RetryAfter != test.delay || followed || (got.Err == nil) != (test.want == Delivered) {
				t.Errorf("%+v, redirect followed: %t", got, followed)
			}
			if got.Err != nil && !strings.Contains(got.Err.Error(), test.mention) {
				t.Errorf("error %q does not contain %q", got.Err, test.mention)
			}
		})
	}
}

// TestReceiverThatDoesNotAnswer has the failures of a connection.
func TestReceiverThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	hanging := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	t.Cleanup(func() { close(release) })
	closing := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		_ = connection.Close()
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	for name, url := range map[string]string{"hangs": hanging, "closes the connection": closing, "refuses the connection": "http://" + listener.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if got := sender(t, url, nil).Send(ctx, testEvent()); got.Outcome != Failed || got.Err == nil {
			t.Errorf("a receiver that %s: %+v", name, got)
		}
		cancel()
	}
}

// TestEndlessAnswerIsCut: a receiver cannot keep an attempt busy with its answer.
func TestEndlessAnswerIsCut(t *testing.T) {
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<10))); err != nil {
				return
			}
		}
	})
	got := sender(t, url, nil).Send(t.Context(), testEvent())
	if got.Outcome != Refused || len(got.Err.Error()) > 400 {
		t.Errorf("%+v", got)
	}
}

func TestCertificateIsVerified(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if got := sender(t, server.URL, map[string]string{KeyCA: ca}).Send(t.Context(), testEvent()); got.Outcome != Delivered {
		t.Errorf("with the CA: %+v", got)
	}
	got := sender(t, server.URL, nil).Send(t.Context(), testEvent())
	if got.Outcome != Failed || !strings.Contains(got.Err.Error(), "certificate") {
		t.Errorf("without the CA: %+v", got)
	}
}

func TestAddressesOfCredentialsAreRefused(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fe80::1]:443", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80", "100.100.100.200:80", "0.0.0.0:80", "224.0.0.1:80"} {
		got := sender(t, "http://"+address+"/latest", nil).Send(t.Context(), testEvent())
		if got.Outcome != Failed || !strings.Contains(got.Err.Error(), "is refused") {
			t.Errorf("%s: %+v", address, got)
		}
	}
	for _, address := range []string{"10.0.0.1:443", "127.0.0.1:443", "[fd00::1]:443", "203.0.113.1:443"} {
		if err := checkAddress("tcp", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestNoSecretIsInAnError: a receiver repeats the whole request in its answer, and a receiver does
// not answer.
func TestNoSecretIsInAnError(t *testing.T) {
	secrets := []string{key, oldKey, "bearer-token", "team-secret-1", "T0K3N-in-path", "T0K3N-in-query"}
	echo := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, r.URL.Path+" "+r.URL.RawQuery+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Team")+" "+key)
	})
	for _, url := range []string{echo, "http://127.0.0.1:1", "http://169.254.169.254"} {
		s := sender(t, url+"/hook/T0K3N-in-path?key=T0K3N-in-query", map[string]string{KeyPreviousKey: oldKey, KeyToken: "bearer-token", KeyHeaders: "X-Team: team-secret-1"})
		got := s.Send(t.Context(), testEvent())
		if got.Err == nil {
			t.Fatalf("%s accepts the event", url)
		}
		for _, secret := range secrets {
			if strings.Contains(got.Err.Error(), secret) {
				t.Errorf("the error has %s: %v", secret, got.Err)
			}
		}
	}
}

func TestSecretThatCannotBeUsedIsNamed(t *testing.T) {
	const url = "https://events.example.com/goshawk"
	for _, test := range []struct {
		name    string
		data    map[string]string
		mention string
	}{
		{"no URL", map[string]string{KeyKey: key}, "url is missing"},
		{"an unknown key", map[string]string{"URL": url, KeyKey: key}, "URL: there is no such key"},
		{"not a URL", map[string]string{KeyURL: "events", KeyKey: key}, "url is not a URL"},
		{"another scheme", map[string]string{KeyURL: "ftp://events.example.com", KeyKey: key}, `scheme "ftp"`},
		{"no encryption", map[string]string{KeyURL: "http://events.example.com", KeyKey: key}, "allowHTTP"},
		{"a password in the URL", map[string]string{KeyURL: "https://user:hunter22@events.example.com", KeyKey: key}, "url has a user"},
		{"no key", map[string]string{KeyURL: url}, "key is missing"},
		{"a short key", map[string]string{KeyURL: url, KeyKey: "hunter22"}, "key has 8 bytes"},
		{"a short old key", map[string]string{KeyURL: url, KeyKey: key, KeyPreviousKey: "hunter22"}, "previousKey has 8 bytes"},
		{"a key that is not base64", map[string]string{KeyURL: url, KeyKey: "whsec_hunter22!"}, "not base64"},
		{"no certificate", map[string]string{KeyURL: url, KeyKey: key, KeyCA: "hunter22"}, "ca.crt has no CA certificate"},
		{"a token with a line break", map[string]string{KeyURL: url, KeyKey: key, KeyToken: "hunter22\nX: y"}, "token has a character"},
		{"not a header", map[string]string{KeyURL: url, KeyKey: key, KeyHeaders: "A: b\nhunter22"}, "line 2 is not a header"},
		{"a header of its own", map[string]string{KeyURL: url, KeyKey: key, KeyHeaders: "webhook-signature: hunter22"}, "Webhook-Signature itself"},
		{"two tokens", map[string]string{KeyURL: url, KeyKey: key, KeyToken: "t", KeyHeaders: "authorization: hunter22"}, "not both"},
		{"too many headers", map[string]string{KeyURL: url, KeyKey: key, KeyHeaders: strings.Repeat("A: b\n", 21)}, "more than 20 lines"},
		{"a source with a blank", map[string]string{KeyURL: url, KeyKey: key, KeySource: "cluster a"}, "source is not a URI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := map[string][]byte{}
			for name, value := range test.data {
				data[name] = []byte(value)
			}
			_, err := Parse(data)
			if err == nil || !strings.Contains(err.Error(), test.mention) || strings.Contains(err.Error(), "hunter22") {
				t.Errorf("error %v, want one with %q and without the secret", err, test.mention)
			}
		})
	}
	if _, err := Parse(map[string][]byte{KeyURL: []byte(url + "\n"), KeyKey: []byte(key + "\n")}); err != nil {
		t.Errorf("values that end in a line break: %v", err)
	}
}
