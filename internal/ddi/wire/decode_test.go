// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFeedbackOfRealClients decodes bodies as swupdate 2022.12, rauc-hawkbit-updater and hawkBit's
// documentation write them.
func TestFeedbackOfRealClients(t *testing.T) {
	tests := map[string]struct {
		body string
		want Feedback
	}{
		"swupdate starts": {
			`{ "id": 17, "time": "20240311T091500", "status": { "result": { "progress": { "cnt" : 0, "of" : 1 }, "finished": "none" }, "execution": "proceeding", "details" : [ "Installing Update Chunk Artifacts." ] } }`,
			Feedback{ID: "17", Time: "20240311T091500", Status: Status{
				Execution: ExecutionProceeding,
				Result:    Result{Finished: FinishedNone, Progress: &Progress{0, 1}},
				Details:   Details{"Installing Update Chunk Artifacts."},
			}},
		},
		"swupdate counts one of zero and has no details": {
			`{ "id": 17, "time": "20240311T091501", "status": { "result": { "progress": { "cnt" : 1, "of" : 0 }, "finished": "none" }, "execution": "proceeding", "details" : [   ] } }`,
			Feedback{ID: "17", Time: "20240311T091501", Status: Status{
				Execution: ExecutionProceeding,
				Result:    Result{Finished: FinishedNone, Progress: &Progress{1, 0}},
				Details:   Details{},
			}},
		},
		"swupdate at the largest id": {
			`{"id":2147483647,"time":"20240311T091500","status":{"result":{"progress":{"cnt":1,"of":1},"finished":"success"},"execution":"closed","details":["Update Installed."]}}`,
			Feedback{ID: "2147483647", Time: "20240311T091500", Status: Status{
				Execution: ExecutionClosed,
				Result:    Result{Finished: FinishedSuccess, Progress: &Progress{1, 1}},
				Details:   Details{"Update Installed."},
			}},
		},
		"swupdate acknowledges a cancel": {
			`{ "id": 19, "time": "20240311T091500", "status": { "result": { "finished": "success" }, "execution": "closed", "details" : [ "cancellation acknowledged." ] } }`,
			Feedback{ID: "19", Time: "20240311T091500", Status: Status{
				Execution: ExecutionClosed, Result: Result{Finished: FinishedSuccess}, Details: Details{"cancellation acknowledged."},
			}},
		},
		"rauc reports progress with a string id": {
			`{"id":"31","time":"20240311T081500","status":{"result":{"finished":"none"},"execution":"proceeding","details":["Copying image to rootfs.1"]}}`,
			Feedback{ID: "31", Time: "20240311T081500", Status: Status{
				Execution: ExecutionProceeding, Result: Result{Finished: FinishedNone}, Details: Details{"Copying image to rootfs.1"},
			}},
		},
		"an older rauc counts three of one": {
			`{"id":"31","time":"20240311T081500","status":{"result":{"progress":{"of":1,"cnt":3},"finished":"none"},"execution":"proceeding"}}`,
			Feedback{ID: "31", Time: "20240311T081500", Status: Status{
				Execution: ExecutionProceeding, Result: Result{Finished: FinishedNone, Progress: &Progress{3, 1}},
			}},
		},
		"rauc has only downloaded": {
			`{"id":"31","time":"20240311T081500","status":{"result":{"finished":"success"},"execution":"downloaded","details":["File checksum OK."]}}`,
			Feedback{ID: "31", Time: "20240311T081500", Status: Status{
				Execution: ExecutionDownloaded, Result: Result{Finished: FinishedSuccess}, Details: Details{"File checksum OK."},
			}},
		},
		"rauc refuses a cancel with success": {
			`{"id":"31","time":"20240311T081500","status":{"result":{"finished":"success"},"execution":"rejected","details":["Cancellation impossible, installation started already."]}}`,
			Feedback{ID: "31", Time: "20240311T081500", Status: Status{
				Execution: ExecutionRejected, Result: Result{Finished: FinishedSuccess}, Details: Details{"Cancellation impossible, installation started already."},
			}},
		},
		"the documented form": {
			`{"timestamp":1700000000000,"status":{"execution":"proceeding","result":{"finished":"none","progress":{"cnt":2,"of":5}},"code":200,"details":["writing slot B"]}}`,
			exampleFeedback(),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeFeedback([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("feedback (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionalFieldsOfFeedbackAreTolerant(t *testing.T) {
	closed := Status{Execution: ExecutionClosed, Result: Result{Finished: FinishedSuccess}}
	with := func(change func(*Feedback)) Feedback {
		f := Feedback{Status: closed}
		change(&f)
		return f
	}
	tests := map[string]struct {
		body string
		want Feedback
	}{
		"unknown properties everywhere": {
			`{"x":1,"status":{"y":{},"execution":"closed","result":{"z":[],"finished":"success"}}}`, with(func(*Feedback) {})},
		"an id that is an object": {
			`{"id":{"a":1},"status":{"execution":"closed","result":{"finished":"success"}}}`, with(func(*Feedback) {})},
		"nulls for everything optional": {
			`{"id":null,"time":null,"timestamp":null,"status":{"execution":"closed","result":{"finished":"success","progress":null},"code":null,"details":null}}`, with(func(*Feedback) {})},
		"a code that is text": {
			`{"status":{"execution":"closed","result":{"finished":"success"},"code":"INCONSISTENT"}}`, with(func(f *Feedback) { f.Status.Code = "INCONSISTENT" })},
		"a code below zero": {
			`{"status":{"execution":"closed","result":{"finished":"success"},"code":-1}}`, with(func(f *Feedback) { f.Status.Code = "-1" })},
		"a code that is a list": {
			`{"status":{"execution":"closed","result":{"finished":"success"},"code":[1]}}`, with(func(*Feedback) {})},
		"details that are one text": {
			`{"status":{"execution":"closed","result":{"finished":"success"},"details":"done"}}`, with(func(f *Feedback) { f.Status.Details = Details{"done"} })},
		"details of mixed kinds": {
			`{"status":{"execution":"closed","result":{"finished":"success"},"details":["a",1,null,{"b":2}]}}`, with(func(f *Feedback) { f.Status.Details = Details{"a", "1", "null", `{"b":2}`} })},
		"progress as text": {
			`{"status":{"execution":"closed","result":{"finished":"success","progress":{"cnt":"2","of":"4"}}}}`, with(func(f *Feedback) { f.Status.Result.Progress = &Progress{2, 4} })},
		"progress that is a word": {
			`{"status":{"execution":"closed","result":{"finished":"success","progress":"half"}}}`, with(func(f *Feedback) { f.Status.Result.Progress = &Progress{} })},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeFeedback([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("feedback (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFeedbackThatIsRefusedNamesTheField(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"empty":               {" ", "the body is empty; send a JSON object"},
		"not JSON":            {`{"status":`, "the body is not JSON: unexpected end of JSON input at byte 10"},
		"a list":              {`[]`, "the body must be a JSON object, not a list"},
		"no status":           {`{}`, "status.execution is missing; send one of closed, proceeding, canceled, scheduled, rejected, resumed, download, downloaded"},
		"null":                {`null`, "status.execution is missing; send one of closed, proceeding, canceled, scheduled, rejected, resumed, download, downloaded"},
		"status is text":      {`{"status":"closed"}`, "status must not be text"},
		"unknown execution":   {`{"status":{"execution":"Closed","result":{"finished":"none"}}}`, `status.execution is "Closed"; send one of closed, proceeding, canceled, scheduled, rejected, resumed, download, downloaded`},
		"execution is number": {`{"status":{"execution":1}}`, "status.execution must not be a number"},
		"no result":           {`{"status":{"execution":"closed"}}`, "status.result.finished is missing; send one of success, failure, none"},
		"empty result":        {`{"status":{"execution":"closed","result":{}}}`, "status.result.finished is missing; send one of success, failure, none"},
		"unknown result":      {`{"status":{"execution":"closed","result":{"finished":"maybe"}}}`, `status.result.finished is "maybe"; send one of success, failure, none`},
		"result is boolean":   {`{"status":{"execution":"closed","result":true}}`, "status.result must not be true or false"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeFeedback([]byte(tc.body))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
}

func TestReportedAt(t *testing.T) {
	march := time.Date(2024, 3, 11, 9, 15, 0, 0, time.UTC)
	tests := map[string]struct {
		feedback Feedback
		want     time.Time
		wantOK   bool
	}{
		"milliseconds":              {Feedback{Timestamp: "1710148500000"}, march, true},
		"swupdate's local time":     {Feedback{Time: "20240311T091500"}, march, true},
		"RFC 3339":                  {Feedback{Timestamp: "2024-03-11T10:15:00+01:00"}, march, true},
		"timestamp before time":     {Feedback{Timestamp: "1710148500000", Time: "20010101T000000"}, march, true},
		"unreadable, then readable": {Feedback{Timestamp: "soon", Time: "20240311T091500"}, march, true},
		"none":                      {Feedback{}, time.Time{}, false},
		"zero":                      {Feedback{Timestamp: "0"}, time.Time{}, false},
		"beyond the year 9999":      {Feedback{Timestamp: "9223372036854775807"}, time.Time{}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := tc.feedback.ReportedAt()
			if !got.Equal(tc.want) || ok != tc.wantOK {
				t.Errorf("ReportedAt() = %s, %t; want %s, %t", got, ok, tc.want, tc.wantOK)
			}
		})
	}
}

func TestPercent(t *testing.T) {
	tests := map[string]struct {
		progress *Progress
		want     int
		wantOK   bool
	}{
		"none":           {nil, 0, false},
		"two of five":    {&Progress{2, 5}, 40, true},
		"one of zero":    {&Progress{1, 0}, 0, false},
		"three of one":   {&Progress{3, 1}, 100, true},
		"less than none": {&Progress{-1, 5}, 0, false},
		"huge":           {&Progress{1 << 30, 1<<31 - 1}, 50, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := tc.progress.Percent(); got != tc.want || ok != tc.wantOK {
				t.Errorf("Percent() = %d, %t; want %d, %t", got, ok, tc.want, tc.wantOK)
			}
		})
	}
}

func TestConfigData(t *testing.T) {
	text := func(s string) *string { return &s }
	tests := map[string]struct {
		body    string
		want    ConfigData
		wantErr string
	}{
		"rauc, without a mode": {
			`{"time":"20240311T081500","status":{"result":{"finished":"success"},"execution":"closed"},"data":{"product":"demo"}}`,
			ConfigData{ModeMerge, map[string]*string{"product": text("demo")}}, ""},
		"swupdate, with the obsolete fields": {
			`{ "id": "", "time": "20240311T091500", "status": { "result": { "finished": "success" }, "execution": "closed", "details" : [ "" ] }, "mode": "replace", "data" : { "hwId": "demo" } }`,
			ConfigData{ModeReplace, map[string]*string{"hwId": text("demo")}}, ""},
		"null stays apart from empty": {
			`{"mode":"merge","data":{"a":null,"b":""}}`,
			ConfigData{ModeMerge, map[string]*string{"a": nil, "b": text("")}}, ""},
		"numbers and booleans become text": {
			`{"data":{"ram":512,"secure":true}}`,
			ConfigData{ModeMerge, map[string]*string{"ram": text("512"), "secure": text("true")}}, ""},
		"no attributes":    {`{"mode":"remove","data":{}}`, ConfigData{ModeRemove, map[string]*string{}}, ""},
		"no data":          {`{"mode":"merge"}`, ConfigData{}, "data is missing; send an object of attribute names and values"},
		"unknown mode":     {`{"mode":"append","data":{}}`, ConfigData{}, `mode is "append"; send one of merge, replace, remove`},
		"a nested value":   {`{"data":{"a":{"b":1}}}`, ConfigData{}, `data["a"] must be text or null, not an object`},
		"a list as value":  {`{"data":{"a":[1]}}`, ConfigData{}, `data["a"] must be text or null, not a list`},
		"data is a list":   {`{"data":[]}`, ConfigData{}, "data must not be a list"},
		"nothing was sent": {``, ConfigData{}, "the body is empty; send a JSON object"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeConfigData([]byte(tc.body))
			if tc.wantErr != "" {
				if err == nil || err.Error() != tc.wantErr {
					t.Errorf("error %v\nwant  %s", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("config data (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstalledSet(t *testing.T) {
	got, err := DecodeInstalledSet([]byte(`{"name":"firmware","version":"2.1"}`))
	if want := (InstalledSet{"firmware", "2.1"}); err != nil || got != want {
		t.Errorf("DecodeInstalledSet = %v, %v; want %v", got, err, want)
	}
	for body, field := range map[string]string{`{"version":"1"}`: "name ", `{"name":"f"}`: "version ", `{"name":1}`: "name "} {
		if _, err := DecodeInstalledSet([]byte(body)); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: error %v does not start with %q", body, err, field)
		}
	}
}

func TestConfirmationFeedback(t *testing.T) {
	got, err := DecodeConfirmationFeedback([]byte(`{"confirmation":"confirmed","code":1,"details":["by the driver"]}`))
	want := ConfirmationFeedback{Confirmed, "1", Details{"by the driver"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, confirmation (-want +got):\n%s", err, diff)
	}
	_, err = DecodeConfirmationFeedback([]byte(`{"confirmation":"yes"}`))
	if want := `confirmation is "yes"; send one of confirmed, denied`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestActivateAutoConfirmNeedsNoBody(t *testing.T) {
	if got, err := DecodeActivateAutoConfirm(nil); err != nil || got != (ActivateAutoConfirm{}) {
		t.Errorf("without a body: %v, %v", got, err)
	}
	got, err := DecodeActivateAutoConfirm([]byte(`{"initiator":"alice"}`))
	if want := (ActivateAutoConfirm{Initiator: "alice"}); err != nil || got != want {
		t.Errorf("DecodeActivateAutoConfirm = %v, %v; want %v", got, err, want)
	}
}

// FuzzDecodeFeedback: a report that is accepted can be written, and read again as the same report.
func FuzzDecodeFeedback(f *testing.F) {
	f.Add([]byte(`{"id":17,"time":"20240311T091500","status":{"result":{"progress":{"cnt":1,"of":0},"finished":"none"},"execution":"proceeding","details":["a"]}}`))
	f.Add([]byte(`{"status":{"execution":"closed","result":{"finished":"success"},"code":-0,"details":"x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := DecodeFeedback(body)
		if err != nil {
			return
		}
		written, err := Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := DecodeFeedback(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if len(first.Status.Details) == 0 { // an empty list is left out
			first.Status.Details, second.Status.Details = nil, nil
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("after the round trip (-first +second):\n%s", diff)
		}
	})
}
