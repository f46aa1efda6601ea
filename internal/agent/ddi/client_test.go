// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// server answers requests by their method and path, and records them.
type server struct {
	*testing.T
	*httptest.Server
	answers map[string]http.HandlerFunc

	mu       sync.Mutex
	requests []string
	headers  []http.Header
}

func newServer(t *testing.T, answers map[string]http.HandlerFunc) (*server, *Client) {
	t.Helper()
	s := &server{T: t, answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s, s.client("TargetToken secret")
}

func (s *server) client(authorization string) *Client {
	s.Helper()
	c, err := New(s.Server.Client(), s.URL+"/DEFAULT", "device 1/ü", func() (string, error) { return authorization, nil })
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.Error(err)
	}
	key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/DEFAULT/controller/v1/device%201%2F%C3%BC")
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSpace(key+" "+string(body)))
	s.headers = append(s.headers, r.Header)
	s.mu.Unlock()
	if answer, ok := s.answers[key]; ok {
		answer(w, r)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// body answers with a JSON document, in which HOST is the address of the server.
func body(document string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/hal+json;charset=UTF-8")
		_, _ = io.WriteString(w, strings.ReplaceAll(document, "HOST", "http://"+r.Host))
	}
}

func status(code int, document string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, document)
	}
}

// root is the answer of hawkBit to a poll.
const root = `{"config":{"polling":{"sleep":"00:05:00"}},"_links":{
	"deploymentBase":{"href":"HOST/DEFAULT/controller/v1/device%201%2F%C3%BC/deploymentBase/31?c=-217"},
	"installedBase":{"href":"HOST/DEFAULT/controller/v1/dev1/installedBase/17"},
	"configData":{"href":"HOST/DEFAULT/controller/v1/dev1/configData"}}}`

func TestPollOfHawkbit(t *testing.T) {
	s, c := newServer(t, map[string]http.HandlerFunc{"GET ": body(root)})
	base, err := c.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(base.Config.Polling.Sleep); got != 5*time.Minute {
		t.Errorf("the interval is %s", got)
	}
	if got := base.Links.DeploymentBase.Href; got != s.URL+"/DEFAULT/controller/v1/device%201%2F%C3%BC/deploymentBase/31?c=-217" {
		t.Errorf("the link is %s", got)
	}
	if got := s.headers[0]; got.Get("Authorization") != "TargetToken secret" || got.Get("Accept") == "" {
		t.Errorf("the headers are %v", got)
	}
}

func TestPollInterval(t *testing.T) {
	for sleep, want := range map[string]time.Duration{
		`"00:00:10"`: 10 * time.Second, `"23:59:59"`: 24*time.Hour - time.Second,
		`"PT24H"`: 24 * time.Hour, `"P2D"`: 48 * time.Hour, `"P1DT2H3M4.5S"`: 26*time.Hour + 3*time.Minute + 4*time.Second, `"PT36H"`: 36 * time.Hour,
		`"PT90S"`: 90 * time.Second,
		// The agent uses its own interval if it cannot read that of the server.
		`"soon"`: 0, `""`: 0, `null`: 0, `300`: 0, `{}`: 0, `"P"`: 0, `"-PT1H"`: 0, `"99:99:99"`: 0,
	} {
		_, c := newServer(t, map[string]http.HandlerFunc{"GET ": body(`{"config":{"polling":{"sleep":` + sleep + `}}}`)})
		base, err := c.Poll(t.Context())
		if err != nil || time.Duration(base.Config.Polling.Sleep) != want {
			t.Errorf("%s: %s, %v; want %s", sleep, time.Duration(base.Config.Polling.Sleep), err, want)
		}
	}
}

func TestDeployment(t *testing.T) {
	const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for name, tc := range map[string]struct {
		document, url string
	}{
		"of hawkBit": {`{"id":"31","deployment":{"download":"forced","update":"skip","maintenanceWindow":"unavailable","chunks":[
			{"part":"os","version":"1.2","name":"rootfs","artifacts":[{"filename":"a","size":7,"hashes":{"sha1":"x","md5":"y","sha256":"` + hash + `"},
			"_links":{"download-http":{"href":"HOST/a"},"md5sum-http":{"href":"HOST/a.MD5SUM"}}}],"metadata":[{"key":"k","value":"v"}]}]},
			"actionHistory":{"status":"RETRIEVED","messages":["x"]},"somethingNew":true}`, "HOST/a"},
		"with a numeric id and a relative link": {`{"id":31,"deployment":{"download":"forced","update":"skip","maintenanceWindow":"unavailable","chunks":[
			{"part":"os","version":"1.2","name":"rootfs","artifacts":[{"filename":"a","size":7,"hashes":{"sha256":"` + hash + `"},
			"_links":{"download":{"href":"/files/a"}}}],"metadata":[{"key":"k","value":"v"}]}]}}`, "HOST/files/a"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t, map[string]http.HandlerFunc{"GET /deploymentBase/31": body(tc.document)})
			d, err := c.Deployment(t.Context(), wire.Link{Href: s.URL + "/DEFAULT/controller/v1/device%201%2F%C3%BC/deploymentBase/31?c=1"})
			if err != nil {
				t.Fatal(err)
			}
			chunk := d.Deployment.Chunks[0]
			got := fmt.Sprint(d.ID, d.Deployment.Update, d.Deployment.MaintenanceWindow, chunk.Part, chunk.Version, chunk.Name, chunk.Metadata, chunk.Artifacts[0].Filename, chunk.Artifacts[0].Size, chunk.Artifacts[0].Hashes.SHA256)
			if want := fmt.Sprint("31", wire.HandlingSkip, wire.WindowUnavailable, "os", "1.2", "rootfs", []wire.Metadata{{Key: "k", Value: "v"}}, "a", 7, hash); got != want {
				t.Errorf("the deployment is %s, want %s", got, want)
			}
			if got, want := chunk.Artifacts[0].Links.Preferred(), strings.Replace(tc.url, "HOST", s.URL, 1); got != want {
				t.Errorf("the address is %s, want %s", got, want)
			}
		})
	}
}

func TestConfirmation(t *testing.T) {
	const action = `{"id":"8","confirmation":{"download":"forced","update":"forced","chunks":[]}}`
	for name, tc := range map[string]struct {
		first, second string
		want          string
	}{
		"the link of hawkBit leads to the action":   {action, "", "8"},
		"or to the state with a link to the action": {`{"autoConfirm":{"active":false},"_links":{"confirmationBase":{"href":"HOST/second"}}}`, action, "8"},
		"or to the state without an action":         {`{"autoConfirm":{"active":true},"_links":{}}`, "", ""},
		"or to itself":                              {`{"_links":{"confirmationBase":{"href":"HOST/first"}}}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t, map[string]http.HandlerFunc{"GET /first": body(tc.first), "GET /second": body(tc.second)})
			a, ok, err := c.Confirmation(t.Context(), wire.Link{Href: s.URL + "/first"})
			if err != nil || a.ID != tc.want || ok != (tc.want != "") {
				t.Errorf("%+v, %v, %v", a, ok, err)
			}
			if len(s.requests) > 2 {
				t.Errorf("%d requests", len(s.requests))
			}
		})
	}
}

func TestReports(t *testing.T) {
	ok := status(http.StatusOK, "")
	s, c := newServer(t, map[string]http.HandlerFunc{
		"POST /deploymentBase/31/feedback": ok, "POST /cancelAction/31/feedback": ok, "POST /confirmationBase/8/feedback": ok, "PUT /configData": status(http.StatusNoContent, ""), "PUT /installedBase": status(http.StatusCreated, ""),
	})
	f := wire.Feedback{Status: wire.Status{Execution: wire.ExecutionClosed, Result: wire.Result{Finished: wire.FinishedFailure}, Code: "17", Details: wire.Details{"why"}}}
	for _, err := range []error{
		c.Report(t.Context(), "31", f), c.ReportCancel(t.Context(), "31", f),
		c.ReportConfirmation(t.Context(), "8", wire.ConfirmationFeedback{Confirmation: wire.Denied, Details: wire.Details{"no"}}),
		c.SendAttributes(t.Context(), c.AttributesLink(), map[string]string{"hw": "2"}),
		c.ReportInstalled(t.Context(), "firmware", "2.1"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		`POST /deploymentBase/31/feedback {"status":{"execution":"closed","result":{"finished":"failure"},"code":17,"details":["why"]}}`,
		`POST /cancelAction/31/feedback {"status":{"execution":"closed","result":{"finished":"failure"},"code":17,"details":["why"]}}`,
		`POST /confirmationBase/8/feedback {"confirmation":"denied","details":["no"]}`,
		`PUT /configData {"mode":"replace","data":{"hw":"2"}}`,
		`PUT /installedBase {"name":"firmware","version":"2.1"}`,
	}
	if diff := cmp.Diff(want, s.requests); diff != "" {
		t.Errorf("the requests are:\n%s", diff)
	}
}

// TestReportsForAServerWithNumericCodes has the rule of hawkBit for the code of a report.
func TestReportsForAServerWithNumericCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		code wire.Text
		want []string
	}{
		"a code of the agent": {"INCONSISTENT", []string{
			`{"status":{"execution":"closed","result":{"finished":"failure"},"code":"INCONSISTENT","details":["why"]}}`,
			`{"status":{"execution":"closed","result":{"finished":"failure"},"details":["why","Code: INCONSISTENT"]}}`,
		}},
		"a number that is too large": {"4294967296", []string{
			`{"status":{"execution":"closed","result":{"finished":"failure"},"code":4294967296,"details":["why"]}}`,
			`{"status":{"execution":"closed","result":{"finished":"failure"},"details":["why","Code: 4294967296"]}}`,
		}},
		"a number": {"17", []string{`{"status":{"execution":"closed","result":{"finished":"failure"},"code":17,"details":["why"]}}`}},
		"no code":  {"", []string{`{"status":{"execution":"closed","result":{"finished":"failure"},"details":["why"]}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t, nil)
			numeric := func(w http.ResponseWriter, _ *http.Request) {
				s.mu.Lock()
				defer s.mu.Unlock()
				last := s.requests[len(s.requests)-1]
				if strings.Contains(last, `"code":"`) || strings.Contains(last, `"code":4294967296`) {
					w.WriteHeader(http.StatusBadRequest)
				}
			}
			s.answers = map[string]http.HandlerFunc{"POST /deploymentBase/31/feedback": numeric, "POST /cancelAction/31/feedback": numeric}
			f := wire.Feedback{Status: wire.Status{Execution: wire.ExecutionClosed, Result: wire.Result{Finished: wire.FinishedFailure}, Code: tc.code, Details: wire.Details{"why"}}}
			if err := c.Report(t.Context(), "31", f); err != nil {
				t.Error(err)
			}
			if err := c.ReportCancel(t.Context(), "31", f); err != nil {
				t.Error(err)
			}
			var want []string
			for _, path := range []string{"deploymentBase", "cancelAction"} {
				for _, document := range tc.want {
					want = append(want, "POST /"+path+"/31/feedback "+document)
				}
			}
			if diff := cmp.Diff(want, s.requests); diff != "" {
				t.Errorf("the requests are:\n%s", diff)
			}
		})
	}
}

func TestReportThatIsRefusedForAnotherReason(t *testing.T) {
	s, c := newServer(t, map[string]http.HandlerFunc{"POST /deploymentBase/31/feedback": status(http.StatusBadRequest, `{"message":"no"}`)})
	for code, requests := range map[wire.Text]int{"17": 1, "": 1, "E17": 2} {
		s.requests = nil
		err := c.Report(t.Context(), "31", wire.Feedback{Status: wire.Status{Execution: wire.ExecutionClosed, Code: code}})
		if !IsRefused(err) || len(s.requests) != requests {
			t.Errorf("code %q: %v after %d requests", code, err, len(s.requests))
		}
	}
}

func TestCommonAttributes(t *testing.T) {
	long := strings.Repeat("x", 129)
	some, others := CommonAttributes(map[string]string{"hw": "2", "place": "M\u00fcnchen", "long": long, long: "1", "line": "a\nb", "exact": long[1:], "sw.app.\u66f4": "1", "empty": ""}, "sw.")
	if diff := cmp.Diff(map[string]string{"hw": "2", "exact": long[1:], "empty": ""}, some); diff != "" {
		t.Errorf("the attributes are:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"line", "long", "place", "sw.app.\u66f4", long}, others); diff != "" {
		t.Errorf("the others are:\n%s", diff)
	}
	many := map[string]string{"zone": "1", "consistent": "true"}
	for i := range maxAttributes {
		many[fmt.Sprintf("sw.app.%03d", i)] = "1"
	}
	some, others = CommonAttributes(many, "sw.")
	if diff := cmp.Diff([]string{"sw.app.098", "sw.app.099"}, others); diff != "" || len(some) != maxAttributes || some["zone"] == "" {
		t.Errorf("%d attributes, and the others are:\n%s", len(some), diff)
	}
}

func TestSameServer(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"https://h.example.com/DEFAULT", "https://H.example.com:443/x", true},
		{"http://h.example.com", "http://h.example.com:80", true},
		{"https://[2001:db8::1]/x", "https://[2001:DB8::1]:443", true},
		{"http://h.example.com", "http://h.example.com:443", false},
		{"https://h.example.com", "http://h.example.com:443", false},
		{"https://h.example.com", "https://h.example.com:8443", false},
		{"https://example.com", "https://files.example.com", false},
	} {
		a, errA := url.Parse(tc.a)
		b, errB := url.Parse(tc.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := IsSameServer(a, b); got != tc.want {
			t.Errorf("%s and %s: %v", tc.a, tc.b, got)
		}
	}
}

func TestResponseWithCompression(t *testing.T) {
	compressed := func(document string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			out := gzip.NewWriter(w)
			_, _ = io.WriteString(out, document)
			_ = out.Close()
		}
	}
	_, c := newServer(t, map[string]http.HandlerFunc{"GET ": compressed(root)})
	if base, err := c.Poll(t.Context()); err != nil || base.Links.DeploymentBase.Href == "" {
		t.Errorf("%+v, %v", base, err)
	}
	_, c = newServer(t, map[string]http.HandlerFunc{"GET ": compressed(strings.Repeat(" ", maxBody+1))})
	if _, err := c.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "the response has more than 4194304 bytes") {
		t.Errorf("a document that is too large: %v", err)
	}
	_, c = newServer(t, map[string]http.HandlerFunc{"GET ": status(http.StatusOK, root, "Content-Encoding", "gzip")})
	if _, err := c.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "read the response") {
		t.Errorf("a document that is not compressed: %v", err)
	}
}

// TestWebPageIsNoAnswer checks that a report is not lost at the login page of a network.
func TestWebPageIsNoAnswer(t *testing.T) {
	page := status(http.StatusOK, "<html>Please log in</html>", "Content-Type", "text/html; charset=utf-8")
	_, c := newServer(t, map[string]http.HandlerFunc{"GET ": page, "POST /deploymentBase/31/feedback": page, "PUT /configData": page})
	_, err := c.Poll(t.Context())
	for _, err := range []error{
		err, c.Report(t.Context(), "31", wire.Feedback{}), c.SendAttributes(t.Context(), c.AttributesLink(), nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "the answer is a web page") || IsRefused(err) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestCredentials(t *testing.T) {
	for _, authorization := range []string{"TargetToken a", "GatewayToken b", ""} {
		s, _ := newServer(t, map[string]http.HandlerFunc{"GET ": body(root), "GET /": body("{}")})
		c := s.client(authorization)
		if _, err := c.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.headers[0].Get("Authorization"); got != authorization {
			t.Errorf("the header is %q, want %q", got, authorization)
		}
		// The same machine under another name is another host.
		_, _ = c.Cancel(t.Context(), wire.Link{Href: strings.Replace(s.URL, "127.0.0.1", "localhost", 1) + "/"})
		if got := s.headers[1].Get("Authorization"); got != "" {
			t.Errorf("another host gets %q", got)
		}
	}
	c, err := New(http.DefaultClient, "http://127.0.0.1:1/x", "d", func() (string, error) { return "", errors.New("the token file is empty") })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "the token file is empty") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnswersThatAreErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		answer               http.HandlerFunc
		want                 string
		isGone, isRefused    bool
		retryAfter           time.Duration
		isAnotherKindOfError bool
	}{
		"a wrong token":                 {answer: status(401, ""), want: "the server answered 401 Unauthorized"},
		"no right":                      {answer: status(403, `{"message":"not in this tenant"}`), want: "403 Forbidden: not in this tenant"},
		"an unknown device":             {answer: status(404, `{"exceptionClass":"x","errorCode":"hawkbit.server.error.repo.entitiyNotFound","message":"Target with given identifier {dev1} does not exist."}`), want: "404 Not Found: Target with given identifier {dev1} does not exist.", isGone: true, isRefused: true},
		"a closed action":               {answer: status(410, ""), want: "410 Gone", isGone: true, isRefused: true},
		"an action that is not active":  {answer: status(405, ""), want: "405", isGone: true, isRefused: true},
		"a report that is not accepted": {answer: status(400, ""), want: "400", isRefused: true},
		"a change at the same time":     {answer: status(409, ""), want: "409 Conflict"},
		"a quota":                       {answer: status(429, "slow down\nplease", "Retry-After", "120"), want: "429 Too Many Requests: slow down", retryAfter: 2 * time.Minute},
		"maintenance":                   {answer: status(503, "", "Retry-After", "3600"), want: "503", retryAfter: time.Hour},
		"a wait of a year":              {answer: status(503, "", "Retry-After", "31536000"), want: "503", retryAfter: 24 * time.Hour},
		"a date to wait for":            {answer: status(503, "", "Date", "Fri, 27 Nov 1970 07:25:00 GMT", "Retry-After", "Fri, 27 Nov 1970 07:28:00 GMT"), want: "503", retryAfter: 3 * time.Minute},
		"a date of a year later":        {answer: status(503, "", "Date", "Fri, 27 Nov 2026 07:25:00 GMT", "Retry-After", "Fri, 26 Nov 2027 07:28:00 GMT"), want: "503", retryAfter: 24 * time.Hour},
		"a date in the past":            {answer: status(503, "", "Date", "Fri, 27 Nov 2026 07:28:00 GMT", "Retry-After", "Fri, 27 Nov 2026 07:25:00 GMT"), want: "503"},
		"a date without the present one": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			w.Header().Set("Retry-After", "Fri, 27 Nov 2026 07:28:00 GMT")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, want: "503"},
		"a negative wait":             {answer: status(503, "", "Retry-After", "-1"), want: "503"},
		"a page of a proxy":           {answer: status(502, "<html>"+strings.Repeat("x", 1000)), want: "502 Bad Gateway: <html>xxx"},
		"a login page":                {answer: status(200, "<html>Please log in</html>"), want: "the answer is a web page", isAnotherKindOfError: true},
		"a login page without a type": {answer: status(200, "<html>Please log in</html>", "Content-Type", ""), want: "read the response", isAnotherKindOfError: true},
		"half of a document":          {answer: status(200, root[:50]), want: "read the response", isAnotherKindOfError: true},
		"an empty document":           {answer: status(200, ""), want: "read the response", isAnotherKindOfError: true},
		"another document":            {answer: status(200, `[1,2]`), want: "read the response", isAnotherKindOfError: true},
		"links of another type":       {answer: status(200, `{"_links":"none"}`), want: "read the response", isAnotherKindOfError: true},
		"a document without end": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for range maxBody/1024 + 100 {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1024))); err != nil {
					return
				}
			}
		}, want: "the response has more than 4194304 bytes", isAnotherKindOfError: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := newServer(t, map[string]http.HandlerFunc{"GET ": tc.answer})
			_, err := c.Poll(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 600 || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q, want %q", err, tc.want)
			}
			answer := (*Error)(nil)
			if errors.As(err, &answer) == tc.isAnotherKindOfError || answer != nil && answer.RetryAfter != tc.retryAfter {
				t.Errorf("the error is %#v", err)
			}
			if IsGone(err) != tc.isGone || IsRefused(err) != tc.isRefused {
				t.Errorf("gone %v, refused %v", IsGone(err), IsRefused(err))
			}
		})
	}
}

func TestAnswersWithoutAnActionAreErrors(t *testing.T) {
	for name, document := range map[string]string{"nothing": `{}`, "no id": `{"deployment":{"chunks":[{"part":"os","name":"x","version":"1"}]}}`} {
		s, c := newServer(t, map[string]http.HandlerFunc{"GET /d": body(document), "GET /c": body(`{"id":"1","cancelAction":{}}`)})
		if _, err := c.Deployment(t.Context(), wire.Link{Href: s.URL + "/d"}); err == nil || !strings.Contains(err.Error(), "the response has no id") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Cancel(t.Context(), wire.Link{Href: s.URL + "/c"}); err == nil || !strings.Contains(err.Error(), "has no cancelAction.stopId") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, c := newServer(t, map[string]http.HandlerFunc{"GET /c": body(`{"id":11,"cancelAction":{"stopId":11}}`)})
	if a, err := c.Cancel(t.Context(), wire.Link{Href: s.URL + "/c"}); err != nil || a.CancelAction.StopID != "11" {
		t.Errorf("a cancel with numbers: %+v, %v", a, err)
	}
}

func TestAddressOfAServer(t *testing.T) {
	for _, address := range []string{"", "hawkbit.example.com/DEFAULT", "ftp://hawkbit.example.com/x", "https:///DEFAULT", "http://[::1/x"} {
		if _, err := New(http.DefaultClient, address, "d", nil); err == nil {
			t.Errorf("%q is not refused", address)
		}
	}
	for address, want := range map[string]string{
		"https://h.example.com/DEFAULT":  "https://h.example.com/DEFAULT/controller/v1/d/configData",
		"https://h.example.com/DEFAULT/": "https://h.example.com/DEFAULT/controller/v1/d/configData",
		"https://h.example.com/a/b":      "https://h.example.com/a/b/controller/v1/d/configData",
	} {
		c, err := New(http.DefaultClient, address, "d", nil)
		if err != nil || c.AttributesLink().Href != want {
			t.Errorf("%s: %v, %v", address, c, err)
		}
	}
}
