// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// asCBOR converts a JSON document to CBOR.
func asCBOR(t testing.TB, document string) []byte {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	encoded, err := cbor.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// ofCBOR decodes a CBOR document to the Go values that ofJSON returns.
func ofCBOR(t testing.TB, document []byte) (value any) {
	t.Helper()
	mode, err := cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	if err := mode.Unmarshal(document, &value); err != nil {
		t.Fatalf("%x: %v", document, err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return ofJSON(t, text)
}

func ofJSON(t testing.TB, document []byte) (value any) {
	t.Helper()
	if len(document) == 0 {
		return nil
	}
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return value
}

// TestCBOR sends each request of TestResources in JSON and in CBOR. Status, document and calls of
// the backend are the same.
func TestCBOR(t *testing.T) {
	asJSON, encoded := resourceCases(), resourceCases()
	for name := range asJSON {
		t.Run(name, func(t *testing.T) {
			ask := func(tc exchangeCase) (*httptest.ResponseRecorder, []deviceapitest.Call) {
				b := backend()
				tc.script(b)
				return answered(deviceAPI(t, b), tc.request), b.Calls()
			}
			r := encoded[name].request
			r.Header.Set("Accept", "application/cbor")
			if body, _ := io.ReadAll(r.Body); len(body) > 0 {
				body = asCBOR(t, string(body))
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				r.Header.Set("Content-Type", "application/cbor")
			} else {
				r.Body = http.NoBody
			}
			want, wantCalls := ask(asJSON[name])
			got, gotCalls := ask(encoded[name])
			if got.Code != want.Code && r.Header.Get("If-None-Match") == "" {
				t.Errorf("the status is %d, in JSON %d", got.Code, want.Code)
			}
			if diff := cmp.Diff(wantCalls, gotCalls, cmpopts.IgnoreUnexported(action.Report{})); diff != "" {
				t.Errorf("calls (-JSON +CBOR):\n%s", diff)
			}
			switch sent := got.Header().Get("Content-Type"); {
			case strings.HasPrefix(want.Header().Get("Content-Type"), "text/plain"), want.Body.Len() == 0:
			case sent != "application/cbor":
				t.Errorf("the Content-Type is %q", sent)
			case cmp.Diff(ofJSON(t, want.Body.Bytes()), ofCBOR(t, got.Body.Bytes())) != "":
				t.Errorf("document (-JSON +CBOR):\n%s", cmp.Diff(ofJSON(t, want.Body.Bytes()), ofCBOR(t, got.Body.Bytes())))
			}
		})
	}
}

// TestResultsInCBOR: results up to 1 MiB are accepted, as in JSON. A larger one in CBOR is refused,
// because its start cannot be decoded.
func TestResultsInCBOR(t *testing.T) {
	for name, tc := range map[string]struct {
		details     []string
		first, last string
		status      int
	}{
		"a short result":        {[]string{"a"}, "a", "a", 200},
		"51 details":            {numbered(51, 2048), "line 1 ", "line 51 ", 200},
		"one detail of 900 KiB": {[]string{strings.Repeat("x", 900<<10)}, "xxx", "xxx", 200},
		"100 000 empty details": {make([]string, 100_000), "", "", 200},
		"more than 1 MiB":       {[]string{strings.Repeat("x", 1<<20)}, "", "", 413},
	} {
		t.Run(name, func(t *testing.T) {
			b := backend()
			encoded := asCBOR(t, body("", "closed", "failure", tc.details...))
			w := answered(deviceAPI(t, b), ask("POST "+root+"/deploymentBase/31/feedback", "Content-Type: application/cbor", string(encoded)))
			if w.Code != tc.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, tc.status)
			}
			if w.Code != http.StatusOK {
				return
			}
			r := b.Calls()[0].Args[0].(action.Report)
			if got := r.Details; r.Event != action.Fail || r.StatusCode != "7" || len(got) != min(len(tc.details), 50) ||
				!strings.HasPrefix(got[0], tc.first) || !strings.HasPrefix(got[len(got)-1], tc.last) {
				t.Errorf("the report is %s %s with %d details, %.20q … %.20q", r.Event, r.StatusCode, len(got), got[0], got[len(got)-1])
			}
		})
	}
}
