// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func keys(t *testing.T, byName map[string][]byte) Keys {
	t.Helper()
	k, err := NewKeys(byName)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, MinKeyBytes) }

func TestLinks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 10, 7, 0, 0, time.UTC)
	k := keys(t, map[string][]byte{"1": key(1)})
	link := Link{"fleet", "gw-01", "os-2-1", "rootfs.swu"}
	query, err := url.ParseQuery(k.Sign(link, now, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		link  Link
		query url.Values
		after time.Duration
		want  Validity
	}{
		"at once":                             {link, query, 0, Valid},
		"after its lifetime":                  {link, query, time.Hour, Valid},
		"a quarter later":                     {link, query, time.Hour + 15*time.Minute + time.Second, Resumes},
		"after a week":                        {link, query, MaxResume + time.Hour, Resumes},
		"after a week and its lifetime":       {link, query, MaxResume + 2*time.Hour, Expired},
		"of another device":                   {Link{"fleet", "gw-02", "os-2-1", "rootfs.swu"}, query, 0, Forged},
		"of another namespace":                {Link{"fleet-b", "gw-01", "os-2-1", "rootfs.swu"}, query, 0, Forged},
		"of another module":                   {Link{"fleet", "gw-01", "os-2-2", "rootfs.swu"}, query, 0, Forged},
		"of another file":                     {Link{"fleet", "gw-01", "os-2-1", "rootfs.swu.MD5SUM"}, query, 0, Forged},
		"with the parts in other places":      {Link{"fleet", `gw-01" "os-2-1`, "rootfs.swu", ""}, query, 0, Forged},
		"without a query":                     {link, nil, 0, NotSigned},
		"without a signature":                 {link, url.Values{"e": query["e"]}, 0, NotSigned},
		"with an empty signature":             {link, url.Values{"e": query["e"], "s": {""}}, 0, Forged},
		"with half of a signature":            {link, url.Values{"e": query["e"], "s": {query.Get("s")[:11]}}, 0, Forged},
		"with a signature that is no base64":  {link, url.Values{"e": query["e"], "s": {"%%%"}}, 0, Forged},
		"without an expiry":                   {link, url.Values{"s": query["s"]}, 0, Forged},
		"with a later expiry":                 {link, url.Values{"e": {"zzzzzz"}, "s": query["s"]}, 0, Forged},
		"with an expiry that is no number":    {link, url.Values{"e": {"x y"}, "s": query["s"]}, 0, Forged},
		"with an expiry that is out of range": {link, url.Values{"e": {strings.Repeat("z", 40)}, "s": query["s"]}, 0, Forged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := k.Check(tt.link, tt.query, now.Add(tt.after)); got != tt.want {
				t.Errorf("Check returns %d, want %d", got, tt.want)
			}
		})
	}
}

// The document with the links is the same for a quarter of their lifetime.
func TestLinksChangeSeldom(t *testing.T) {
	t.Parallel()
	k := keys(t, map[string][]byte{"1": key(1)})
	start := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	different := map[string]bool{}
	for minute := range 60 {
		different[k.Sign(Link{}, start.Add(time.Duration(minute)*time.Minute), time.Hour)] = true
	}
	if len(different) > 5 {
		t.Errorf("%d different links in an hour", len(different))
	}
}

// A key is replaced in three steps, and no link breaks: add, wait, remove.
func TestReplacedKey(t *testing.T) {
	t.Parallel()
	now := time.Now()
	link := Link{"fleet", "gw-01", "os-2-1", "rootfs.swu"}
	old, both, next := keys(t, map[string][]byte{"2026-01": key(1)}), keys(t, map[string][]byte{"2026-01": key(1), "2026-02": key(2)}), keys(t, map[string][]byte{"2026-02": key(2)})
	for name, tt := range map[string]struct {
		signs, checks Keys
		want          Validity
	}{
		"an old link after the new key was added":  {old, both, Valid},
		"a link of both after the old was removed": {both, next, Valid},
		"an old link after the old was removed":    {old, next, Forged},
	} {
		query, err := url.ParseQuery(tt.signs.Sign(link, now, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.checks.Check(link, query, now); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	many := map[string][]byte{}
	for i := range MaxKeys + 1 {
		many[fmt.Sprint(i)] = key(byte(i))
	}
	for name, byName := range map[string]map[string][]byte{"none": {}, "too many": many, "a short one": {"a": key(1), "b": key(1)[1:]}, "an empty one": {"a": nil}} {
		if _, err := NewKeys(byName); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
