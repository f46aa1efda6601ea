// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

const salvaged = `{"id":"31","status":{"result":{"finished":"failure","progress":{"cnt":2,"of":5}},"execution":"closed","code":-7,` +
	`"details":["a \"quoted\" \\ line","x","éß 𝄞",["nested",{"deep":[1,2.5e3,true,null]}]]}}`

// The result for each start of a document is a document. A complete document does not change.
func TestSalvageOfEveryStart(t *testing.T) {
	for i := range len(salvaged) {
		if i == 0 {
			continue
		}
		var document map[string]any
		if got := Salvage([]byte(salvaged[:i])); json.Unmarshal(got, &document) != nil {
			t.Fatalf("%s\nis salvaged as\n%s", salvaged[:i], got)
		}
	}
	if got := string(Salvage([]byte(salvaged))); got != salvaged {
		t.Errorf("the complete document has become %s", got)
	}
}

func TestSalvage(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"a value that is not complete": {`{"a":1,"b":tr`, `{"a":1}`},
		"a text that is not complete":  {`{"a":["x","y`, `{"a":["x"]}`},
		"a key without a value":        {`{"a":{"x":1},"b"`, `{"a":{"x":1}}`},
		"a bracket in a text":          {`{"a":"}]","b":["{`, `{"a":"}]","b":[]}`},
		"too deep and cut off":         {`{"a":1,"b":` + strings.Repeat("[", 1000), `{"a":1,"b":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`},
		"too deep": {`{"b":` + strings.Repeat("[", 1000) + `"[["` + strings.Repeat("]", 1000) + `,"a":1}`,
			`{"b":` + strings.Repeat("[", maxDepth-1) + "null" + strings.Repeat("]", maxDepth-1) + `,"a":1}`},
		"no JSON": {`]]{"a":1`, `]]{}`},
		"nothing": {"", ""},
	}
	for name, tc := range tests {
		if got := string(Salvage([]byte(tc.body))); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// FuzzSalvage: JSON stays JSON wherever it is cut, and no input causes a panic.
func FuzzSalvage(f *testing.F) {
	f.Add([]byte(salvaged), 40)
	f.Add([]byte(`[[`), 1)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		_ = Salvage(body)
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) != nil || object == nil || cut <= 0 || cut >= len(body) || len(strings.TrimSpace(string(body[:cut]))) == 0 {
			return
		}
		if got := Salvage(body[:cut]); !json.Valid(got) {
			t.Errorf("%s\nis salvaged as\n%s", body[:cut], got)
		}
	})
}
