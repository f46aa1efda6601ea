// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// body returns a report with the details; before is inserted before the status.
func body(before, execution, finished string, details ...string) string {
	quoted := make([]string, len(details))
	for i, d := range details {
		quoted[i] = fmt.Sprintf("%q", d)
	}
	return fmt.Sprintf(`{%s"status":{"execution":%q,"result":{"finished":%q},"code":7,"details":[%s]}}`, before, execution, finished, strings.Join(quoted, ","))
}

func numbered(n, length int) []string {
	details := make([]string, n)
	for i := range details {
		details[i] = fmt.Sprintf("line %d %s", i+1, strings.Repeat("x", max(length-10, 0)))
	}
	return details
}

// TestResultsOfAnySizeAreAccepted: the backend gets the result with its code, and the first and the
// last of its details.
func TestResultsOfAnySizeAreAccepted(t *testing.T) {
	kib, mib := strings.Repeat("x", 1<<10), strings.Repeat("x", 1<<20)
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	tests := map[string]struct {
		body        string
		details     int
		first, last string
		says        string
	}{
		"51 details of 2048 characters":      {body("", "closed", "failure", numbered(51, 2048)...), 50, "line 1 ", "line 51 ", "[… 2 details were cut …]"},
		"61 short details":                   {body("", "closed", "failure", numbered(61, 0)...), 50, "line 1 ", "line 61 ", "[… 12 details were cut …]"},
		"50 details":                         {body("", "closed", "failure", numbered(50, 0)...), 50, "line 1 ", "line 50 ", ""},
		"one detail of 900 KiB":              {body("", "closed", "failure", "start"+strings.Repeat(kib, 900)+"end"), 1, "start", "start", ""},
		"100 000 empty details":              {body("", "closed", "failure", make([]string, 100_000)...), 50, "", "", "[… 99951 details were cut …]"},
		"exactly 1 MiB":                      {body("", "closed", "failure", strings.Repeat("x", 1<<20-len(body("", "closed", "failure", "")))), 1, "xxx", "xxx", ""},
		"one byte more":                      {body("", "closed", "failure", "first", strings.Repeat("x", 1<<20-len(body("", "closed", "failure", "first", ""))+1)), 3, "first", "[… the report is larger than 1 MiB", ""},
		"5 MiB of lines":                     {body("", "closed", "failure", numbered(5000, 1024)...), 50, "line 1 ", "[… the report is larger than 1 MiB", "details were cut …]"},
		"one detail of 5 MiB":                {body("", "closed", "failure", strings.Repeat(mib, 5)), 1, "[… the report is larger", "[… the report is larger", ""},
		"cut within an escape":               {body("", "closed", "failure", "first")[:len(body("", "closed", "failure", "first"))-3] + `,"` + strings.Repeat(`\u00e9`, 1<<18) + `"]}}`, 2, "first", "[… the report is larger", ""},
		"unknown fields of 500 KiB":          {body(`"log":"`+strings.Repeat(kib, 500)+`",`, "closed", "failure", "a"), 1, "a", "a", ""},
		"an unknown field with deep nesting": {body(`"x":`+deep+`,`, "closed", "failure", "a"), 1, "a", "a", ""},
		"an unknown field of 2 MiB with deep nesting at the end": {strings.TrimSuffix(body("", "closed", "failure", "a"), "}") + `,"x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + "}", 2, "a", "[… the report is larger", ""},
		"details with deep nesting":                              {`{"status":{"execution":"closed","code":7,"result":{"finished":"failure"},"details":["a",` + deep + `]}}`, 2, "a", "[[[", ""},
		"invalid UTF-8":                                          {body("", "closed", "failure", "a")[:len(body("", "closed", "failure", ""))-4] + "a\xff\xfe\"]}}", 1, "a��", "a��", ""},
		"a byte order mark":                                      {"\ufeff" + body("", "closed", "failure", "a"), 1, "a", "a", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, resource := range []string{"deploymentBase", "cancelAction"} {
				for _, length := range []string{"declared", "chunked"} {
					b := backend()
					r := ask("POST "+root+"/"+resource+"/31/feedback", tc.body)
					if length == "chunked" {
						r.ContentLength = -1
					}
					if w := answered(deviceAPI(t, b), r); w.Code != http.StatusOK || len(b.Calls()) != 1 {
						t.Fatalf("%s, %s: %d %s", resource, length, w.Code, w.Body)
					}
					got := b.Calls()[0].Args[0].(action.Report)
					if event := map[string]action.Event{"deploymentBase": action.Fail, "cancelAction": action.CancelRejected}[resource]; got.Event != event || got.Stage != "closed" || got.StatusCode != "7" {
						t.Errorf("the backend gets %s %s %s, want %s", got.Event, got.Stage, got.StatusCode, event)
					}
					if n := len(got.Details); n != tc.details || !strings.HasPrefix(got.Details[0], tc.first) || !strings.HasPrefix(got.Details[n-1], tc.last) {
						t.Fatalf("%d details, want %d: from %.40q to %.40q", n, tc.details, got.Details[0], got.Details[n-1])
					}
					if !strings.Contains(strings.Join(got.Details, "\n"), tc.says) {
						t.Errorf("no detail contains %q", tc.says)
					}
				}
			}
		})
	}
}

// TestConfirmationsOfAnySizeAreAccepted: a confirmation is not refused because of the size of its
// details.
func TestConfirmationsOfAnySizeAreAccepted(t *testing.T) {
	for name, text := range map[string]string{
		"61 details":         `{"confirmation":"confirmed","details":[` + strings.Repeat(`"x",`, 60) + `"last"]}`,
		"details of 200 KiB": `{"confirmation":"confirmed","details":["` + strings.Repeat("x", 200<<10) + `","last"]}`,
		"more than 1 MiB":    `{"confirmation":"confirmed","details":["a","` + strings.Repeat("x", 2<<20) + `"]}`,
		"100 000 details":    `{"confirmation":"confirmed","details":[` + strings.Repeat(`"",`, 100_000) + `"last"]}`,
		"an unknown field":   `{"x":` + strings.Repeat(`{"a":`, 15_000) + "1" + strings.Repeat("}", 15_000) + `,"confirmation":"confirmed","details":["last"]}`,
	} {
		b := backend()
		if w := answered(deviceAPI(t, b), ask("POST "+root+"/confirmationBase/31/feedback", text)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		got := b.Calls()[0].Args[0].(action.Report)
		if n := len(got.Details); got.Event != action.Confirm || n > 50 || got.Details[n-1] != "last" && !strings.Contains(got.Details[n-1], "larger than 1 MiB") {
			t.Errorf("%s: %s with %d details that end in %.40q", name, got.Event, n, got.Details[n-1])
		}
	}
}

// TestReportsThatAreRefused: each response contains the reason, and a refusal because of the size
// is logged.
func TestReportsThatAreRefused(t *testing.T) {
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zip, body("", "closed", "success"))
	_ = zip.Close()
	big := strings.Repeat("x", 70<<10)
	tests := map[string]struct {
		headers []string
		body    string
		code    int
		says    string
		logged  bool
	}{
		"progress of 70 KiB":              {nil, body("", "proceeding", "none", big), 413, "A result may have 1 MiB", true},
		"a download of 70 KiB":            {nil, body("", "download", "none", big), 413, "A result may have 1 MiB", true},
		"progress of 2 MiB":               {nil, body("", "proceeding", "none", strings.Repeat("x", 2<<20)), 413, "A result may have 1 MiB", true},
		"a result of 9 MiB":               {nil, body("", "closed", "success", strings.Repeat("x", 9<<20)), 413, "1 MiB", true},
		"2 MiB before the result":         {nil, body(`"log":"`+strings.Repeat("x", 2<<20)+`",`, "closed", "success"), 413, "send them last", true},
		"70 KiB of text":                  {nil, big, 413, "1 MiB", true},
		"70 KiB of JSON without a status": {nil, `{"x":"` + big + `"}`, 413, "1 MiB", true},
		"gzip":                            {[]string{"Content-Encoding: gzip"}, zipped.String(), 415, "Content-Encoding", false},
		"gzip without a header":           {nil, zipped.String(), 400, "not JSON", false},
		"another content type":            {[]string{"Content-Type: text/plain"}, body("", "closed", "success"), 415, "application/json", false},
		"no content type":                 {[]string{"Content-Type: "}, body("", "closed", "success"), 415, "application/json", false},
		"a result that is cut off":        {nil, strings.TrimSuffix(body("", "closed", "success"), "}"), 400, "not JSON", false},
		"two documents":                   {nil, body("", "closed", "success") + "{}", 400, "not JSON", false},
		"no result":                       {nil, `{"status":{"execution":"closed"}}`, 400, "status.result.finished is missing", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var logged []string
			log := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
			b := backend()
			w := answered(deviceAPI(t, b, func(o *ddi.Options) { o.Log = log }), ask("POST "+root+"/deploymentBase/31/feedback", append(tc.headers, tc.body)...))
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.says) || len(b.Calls()) > 0 {
				t.Errorf("%d %s, want %d that says %q", w.Code, w.Body, tc.code, tc.says)
			}
			if text := strings.Join(logged, "\n"); strings.Contains(text, `"controllerID"="dev1" "action"="31"`) != tc.logged {
				t.Errorf("the log says %q", text)
			}
		})
	}
}

// TestInvalidProgress: a progress that is not a number of steps is ignored, and the report is
// accepted.
func TestInvalidProgress(t *testing.T) {
	for text, want := range map[string]*int32{
		`{"cnt":2.5,"of":5}`:                      new(int32(40)),
		`{"cnt":"50","of":"100"}`:                 new(int32(50)),
		`{"cnt":5000000000,"of":10000000000}`:     new(int32(50)),
		`{"cnt":1e2,"of":1e3}`:                    new(int32(10)),
		`{"cnt":-1,"of":1}`:                       nil,
		`{"cnt":1e400,"of":1}`:                    new(int32(0)),
		`{"cnt":99999999999999999999,"of":"NaN"}`: nil,
		`{"cnt":null,"of":[]}`:                    nil,
		`50`:                                      nil,
		`"50%"`:                                   nil,
		`null`:                                    nil,
	} {
		b := backend()
		report := `{"status":{"execution":"closed","result":{"finished":"success","progress":` + text + `},"code":99999999999999999999}}`
		if w := answered(deviceAPI(t, b), ask("POST "+root+"/deploymentBase/31/feedback", report)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", text, w.Code, w.Body)
			continue
		}
		got := b.Calls()[0].Args[0].(action.Report)
		if diff := cmp.Diff(want, got.Progress); diff != "" || got.StatusCode != "99999999999999999999" {
			t.Errorf("%s: code %s, progress (-want +got):\n%s", text, got.StatusCode, diff)
		}
	}
}

// TestLargeBodies: a body with a declared length above the limit is refused unread. A chunked one
// is refused when the limit has been read; the limit is larger where the body may be a result.
func TestLargeBodies(t *testing.T) {
	const size = 10 << 20
	for request, most := range map[string]int{"POST " + root + "/deploymentBase/31/feedback": 1<<20 + 1, "PUT " + root + "/configData": 64<<10 + 1} {
		for name, length := range map[string]int64{"declared": size, "chunked": -1} {
			read := &counter{Reader: io.LimitReader(rand.NewChaCha8([32]byte{}), size)}
			r := ask(request, "Content-Type: application/json", "")
			r.Body, r.ContentLength = io.NopCloser(read), length
			if w := answered(deviceAPI(t, backend()), r); w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%s, %s: %d, want 413", request, name, w.Code)
			}
			if most := map[string]int{"declared": 0, "chunked": most}[name]; read.n > most {
				t.Errorf("%s, %s: %d bytes were read, want at most %d", request, name, read.n, most)
			}
		}
	}
}

// TestAResultIsAcceptedAtLast: a device that exceeds its rate and repeats a large result has it
// accepted.
func TestAResultIsAcceptedAtLast(t *testing.T) {
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = deviceapi.Rate{PerSecond: 50, Burst: 1} })
	for range 200 {
		answered(s, poll())
		answered(s, report("deploymentBase", proceeding))
	}
	for range 100 {
		if w := answered(s, report("deploymentBase", success)); w.Code == http.StatusOK {
			return
		}
	}
	t.Error("a hundred results were refused")
}
