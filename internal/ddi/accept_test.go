// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import "testing"

func TestNegotiate(t *testing.T) {
	const hal, plain, cbor = "application/hal+json", "application/json", "application/cbor"
	for name, tc := range map[string]struct {
		accept []string
		want   string // empty: not acceptable
	}{
		"no header":                          {nil, hal},
		"an empty header":                    {[]string{""}, hal},
		"everything":                         {[]string{"*/*"}, hal},
		"everything of application":          {[]string{"application/*"}, hal},
		"JSON with a suffix":                 {[]string{"application/*+json"}, hal},
		"HAL":                                {[]string{hal}, hal},
		"JSON":                               {[]string{plain}, plain},
		"CBOR":                               {[]string{cbor}, cbor},
		"JSON with parameters":               {[]string{"application/json;charset=UTF-8"}, plain},
		"capitals":                           {[]string{"Application/CBOR"}, cbor},
		"the first of two":                   {[]string{"application/json, application/hal+json"}, plain},
		"the first of two, in another order": {[]string{"application/cbor, application/json"}, cbor},
		"two headers":                        {[]string{"text/html", cbor}, cbor},
		"the higher quality, second":         {[]string{"application/cbor;q=0.5, application/json;q=0.9"}, plain},
		"the higher quality, first":          {[]string{"application/cbor, application/json;q=0.9"}, cbor},
		"everything, and one by name":        {[]string{"*/*, application/json"}, plain},
		"everything with a higher quality than one by name": {[]string{"application/json;q=0.1, */*"}, hal},
		"everything except HAL":                             {[]string{"*/*, application/hal+json;q=0"}, plain},
		"everything except JSON and HAL":                    {[]string{"*/*, application/hal+json;q=0, application/json;q=0"}, cbor},
		"the default of Java":                               {[]string{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, hal},
		"XML":                                               {[]string{"application/xml"}, ""},
		"a type that is refused":                            {[]string{"application/json;q=0"}, ""},
		"a quality that is no number":                       {[]string{"application/json;q=high"}, plain},
		"a range that cannot be read":                       {[]string{"application/"}, ""},
		"a range that cannot be read, and JSON":             {[]string{"a b c, application/json"}, plain},
		"parameters that cannot be read":                    {[]string{"application/json; charset"}, plain},
		"a parameter with two values":                       {[]string{"application/json; charset=utf-8; charset=UTF-8"}, plain},
		"a parameter with a comma":                          {[]string{`text/html, application/cbor; profile="a,b"`}, cbor},
		"parameters without a type":                         {[]string{";q=0.5"}, ""},
		"capitals in a suffix":                              {[]string{"APPLICATION/*+JSON"}, hal},
		"a type that starts like one of the known":          {[]string{"application/jsonp"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := negotiate(tc.accept); got != tc.want || ok != (tc.want != "") {
				t.Errorf("%q: %q, %t, want %q", tc.accept, got, ok, tc.want)
			}
		})
	}
}
