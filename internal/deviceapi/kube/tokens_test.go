// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

func TestCheckToken(t *testing.T) {
	ref := &v1alpha1.SecretKeyReference{Name: "tokens", Key: "dev-0"}
	with := func(key, token string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: built("tokens"), Type: TokenSecretType, Data: map[string][]byte{key: []byte(token)}}
	}
	for name, tc := range map[string]struct {
		ref     *v1alpha1.SecretKeyReference
		secret  *corev1.Secret
		isOther bool
		reason  string
		says    []string
	}{
		"a token":                      {ref: ref, secret: with("dev-0", "abc")},
		"a token from a file":          {ref: ref, secret: with("dev-0", "abc\n")},
		"no Secret":                    {ref: ref, reason: v1alpha1.ReasonTokenSecretNotFound, says: []string{"Secret tokens", "namespace fleet", "goshawk.dev/device-tokens", `"dev-0"`}},
		"a Secret of another type":     {ref: ref, isOther: true, reason: v1alpha1.ReasonTokenSecretWrongType, says: []string{"Secret tokens", "type goshawk.dev/device-tokens", "delete it"}},
		"a Secret without the key":     {ref: ref, secret: with("dev-1", "abc"), reason: v1alpha1.ReasonTokenKeyMissing, says: []string{`no key "dev-0"`, "spec.tokenSecretRef.key"}},
		"an empty Secret":              {ref: ref, secret: &corev1.Secret{ObjectMeta: built("tokens"), Type: TokenSecretType}, reason: v1alpha1.ReasonTokenKeyMissing},
		"an empty token":               {ref: ref, secret: with("dev-0", ""), reason: v1alpha1.ReasonTokenEmpty, says: []string{`key "dev-0"`}},
		"a token of blanks":            {ref: ref, secret: with("dev-0", " \n"), reason: v1alpha1.ReasonTokenEmpty},
		"a token of two lines":         {ref: ref, secret: with("dev-0", "abc\ndef"), reason: v1alpha1.ReasonTokenInvalid, says: []string{"line break"}},
		"a token with a NUL character": {ref: ref, secret: with("dev-0", "a\x00b"), reason: v1alpha1.ReasonTokenInvalid},
		"a token with blanks inside":   {ref: ref, secret: with("dev-0", "a b")},
		"a token that is not in ASCII": {ref: ref, secret: with("dev-0", "schlüssel")},
		"a token that is not UTF-8":    {ref: ref, secret: with("dev-0", "\xff\xfe")},
	} {
		t.Run(name, func(t *testing.T) {
			problem := checkToken("fleet", tc.ref, faultIn(tc.secret, tc.ref.Key), tc.isOther)
			if tc.reason == "" {
				if problem != nil {
					t.Errorf("the problem is %+v", problem)
				}
				return
			}
			if problem == nil || problem.reason != tc.reason {
				t.Fatalf("the problem is %+v, want %s", problem, tc.reason)
			}
			for _, words := range tc.says {
				if !strings.Contains(problem.message, words) {
					t.Errorf("the message %q lacks %q", problem.message, words)
				}
			}
		})
	}
}

func faultIn(secret *corev1.Secret, key string) string {
	d := newTokenDigests()
	if secret != nil {
		d.set(secret, true)
	}
	return d.find(types.NamespacedName{Namespace: fleetNamespace, Name: "tokens"}, key).fault
}

// Before the Secrets are read, Authorize returns Unavailable at once, not ErrUnauthorized.
func TestSecretsThatHaveNotBeenRead(t *testing.T) {
	d := newWorld(t, 1).deviceAPI(Options{})
	d.tokens = newTokenDigests()
	if err := d.Authorize(context.Background(), dev0, deviceapi.Credentials{TargetToken: "let-me-in"}); !isUnavailable(err) {
		t.Errorf("the error is %v, want unavailable", err)
	}
}
