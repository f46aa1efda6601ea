// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

func TestJSONOfCBOR(t *testing.T) {
	deep := strings.Repeat("81", 100) + "01"
	for name, tc := range map[string]struct{ cbor, want, fault string }{
		"an empty body":                       {cbor: "", want: ""},
		"an empty map":                        {cbor: "a0", want: "{}"},
		"a map":                               {cbor: "a2 6161 01 6162 6163", want: `{"a":1,"b":"c"}`},
		"a map of unknown length":             {cbor: "bf 6161 9f 01 02 ff ff", want: `{"a":[1,2]}`},
		"a text in pieces":                    {cbor: "7f 6161 6162 ff", want: `"ab"`},
		"numbers":                             {cbor: "85 18ff 20 1bffffffffffffffff f97c01 f93e00", fault: "NaN"},
		"integers and fractions":              {cbor: "84 18ff 20 1bffffffffffffffff f93e00", want: `[255,-1,18446744073709551615,1.5]`},
		"true, false, null and undefined":     {cbor: "84 f5 f4 f6 f7", want: `[true,false,null,null]`},
		"a byte string is a text":             {cbor: "43 616263", want: `"abc"`},
		"a byte string that is not UTF-8":     {cbor: "42 61ff", want: `"a\ufffd"`},
		"a text that is not UTF-8":            {cbor: "62 61ff", want: `"a\ufffd"`},
		"characters of HTML":                  {cbor: "63 3c263e", want: `"<&>"`},
		"a time as text":                      {cbor: "c0 74 323032362d31312d30325430363a30303a30305a", want: `"2026-11-02T06:00:00Z"`},
		"a tag is left out":                   {cbor: "d820 a1 6161 01", want: `{"a":1}`},
		"the last of two equal names":         {cbor: "a2 6161 01 6161 02", want: `{"a":2}`},
		"names in order":                      {cbor: "a2 6162 01 6161 02", want: `{"a":2,"b":1}`},
		"values that are nested too deep":     {cbor: deep, want: "[[[[[[[[null]]]]]]]]"},
		"tags that are nested too deep":       {cbor: strings.Repeat("d820", 100) + "01", want: "null"},
		"a document that says it is CBOR":     {cbor: strings.Repeat("d9d9f7", 100) + "a1 6161 01", want: `{"a":1}`},
		"a number as name":                    {cbor: "a1 01 02", fault: "names must be texts"},
		"a map that ends too early":           {cbor: "a1 6161", fault: "it ends too early"},
		"a text that is longer than the body": {cbor: "7a 7fffffff 61", fault: "it ends too early"},
		"a list that is longer than the body": {cbor: "9a 00003fff 01", fault: "it ends too early"},
		"a list that is too long":             {cbor: "9a 00020001" + strings.Repeat("01", 1<<17+1), fault: "not CBOR"},
		"two documents":                       {cbor: "a0 a0", fault: "not CBOR"},
		"a reserved value":                    {cbor: "1c", fault: "not CBOR"},
		"an end without a start":              {cbor: "ff", fault: "not CBOR"},
		"a long number":                       {cbor: "c2 59 0400" + strings.Repeat("ff", 1024), fault: "bignum"},
		"JSON":                                {cbor: hex.EncodeToString([]byte(`{"a":1}`)), fault: "not CBOR"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := hex.DecodeString(strings.ReplaceAll(tc.cbor, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			got, err := JSONOfCBOR(body)
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Fatalf("%s, %v, want an error with %q", got, err, tc.fault)
				}
				return
			}
			if err != nil || string(got) != tc.want {
				t.Errorf("%s, %v, want %s", got, err, tc.want)
			}
		})
	}
}

// TestCBOROfDocuments: a document in CBOR has the values of the document in JSON.
func TestCBOROfDocuments(t *testing.T) {
	for name, document := range map[string]any{
		"a base resource": Base{Config: Config{Polling: Polling{Sleep: Sleep(5 * time.Minute)}}, Links: BaseLinks{DeploymentBase: Link{Href: "https://h/d?a=1&b=2"}}},
		"a deployment": DeploymentBase{ID: "31", Deployment: Deployment{Download: HandlingForced, Update: HandlingSkip,
			Chunks: List[Chunk]{{Part: "os", Artifacts: List[Artifact]{{Filename: "a", Size: 1 << 40}}}, {}}}},
		"a report": Feedback{Timestamp: TextOfTime(time.UnixMilli(1700000000123)), Status: Status{Execution: ExecutionClosed, Result: Result{Finished: FinishedNone, Progress: &Progress{Count: 1, Of: 3}}, Code: "17"}},
		"an error": Error{ErrorCode: "code", Message: "message", Info: map[string]any{"n": 1.5, "list": []any{1, "a", nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := MarshalCBOR(document)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := MarshalCBOR(document); !bytes.Equal(encoded, again) {
				t.Error("two encodings of one document differ")
			}
			got, err := JSONOfCBOR(encoded)
			if err != nil {
				t.Fatal(err)
			}
			var before, after any
			if json.Unmarshal(want, &before) != nil || json.Unmarshal(got, &after) != nil {
				t.Fatalf("%s or %s is not JSON", want, got)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("(-JSON +CBOR):\n%s", diff)
			}
		})
	}
}

// TestCBORGrowth: a document of CBOR that is much shorter than its JSON does not fill the memory.
func TestCBORGrowth(t *testing.T) {
	body, err := cbor.Marshal([]string{strings.Repeat("\x01", 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := JSONOfCBOR(body); err == nil {
		t.Errorf("%d bytes of CBOR became %d bytes of JSON", len(body), len(text))
	}
}

// FuzzJSONOfCBOR: each body becomes JSON of a bounded size, or is refused. JSON that is written as
// CBOR and read again stays the same.
func FuzzJSONOfCBOR(f *testing.F) {
	for _, seed := range []string{"a0", "bf6161", "a261610161626163", "85d820f5f6f743616263c11a00000000", "9f7f6161ffff", "fb7ff0000000000000", "c249010000000000000000", "3bffffffffffffffff"} {
		body, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := JSONOfCBOR(body)
		if err != nil || len(body) == 0 {
			return
		}
		if !json.Valid(text) || len(text) > 2*(len(body)+maxCBORGrowth) {
			t.Fatalf("%x became %d bytes: %.200s", body, len(text), text)
		}
		if _, err := DecodeFeedback(text); err == nil {
			again, err := MarshalCBOR(json.RawMessage(text))
			if err != nil {
				t.Fatal(err)
			}
			if second, err := JSONOfCBOR(again); err != nil || !json.Valid(second) {
				t.Errorf("%s becomes %s, %v", text, second, err)
			}
		}
	})
}

// FuzzDecode: no body causes a panic of a decoder, and errors are one line of text.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"confirmation":"confirmed","code":1,"details":["a"]}`, `{"mode":"merge","data":{"a":null,"b":1,"c":"d"}}`, `{"name":"a","version":"b"}`, `{"initiator":"a"}`, ``, `null`, `[]`, `{"data":{"a":{}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, confirmation := DecodeConfirmationFeedback(body)
		data, attributes := DecodeConfigData(body)
		set, installed := DecodeInstalledSet(body)
		_, activation := DecodeActivateAutoConfirm(body)
		for _, err := range []error{confirmation, attributes, installed, activation} {
			if err != nil && (err.Error() == "" || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%q: the error is %q", body, err)
			}
		}
		if attributes == nil && (data.Mode == "" || data.Data == nil) || installed == nil && (set.Name == "" || set.Version == "") {
			t.Errorf("%q is accepted as %v and %v", body, data, set)
		}
	})
}
