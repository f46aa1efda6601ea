// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Viewers returns the viewer of a request.
type Viewers interface {
	// Of returns the viewer of a request. The error is a *LoginError if the request has no session,
	// or one that has ended.
	Of(*http.Request) (*Viewer, error)
}

// Viewer is a person, or a browser without a login, that looks at the console.
type Viewer struct {
	// Name is the name of the user, as the API server knows it.
	Name string
	// Anonymous is true without a login. An anonymous viewer can never change anything.
	Anonymous bool
	// Session is a secret of the session of this viewer, which no other viewer knows. Tokens of
	// forms are made from it, and streams are counted by it. It is empty only for an anonymous
	// viewer.
	Session string
	// Login and Logout are the paths at which the viewer logs in and out. Empty: that is not
	// possible.
	Login, Logout string
	// Authorizer has the rights of the viewer.
	Authorizer Authorizer
	// Client acts as the viewer. It is used only to preview and apply a change, and to read an
	// object before that. It is nil for an anonymous viewer.
	Client client.Client
}

// Authorizer reports what a viewer may do.
type Authorizer interface {
	// May reports whether the viewer may do this. An error means that it is not known.
	May(context.Context, Access) (Decision, error)
}

// Access is a verb on a resource of Goshawk.
type Access struct {
	Verb     string
	Resource Kind
	// Namespace is empty for all namespaces.
	Namespace string
	// Name is empty for all objects of the namespace.
	Name string
}

func (a Access) String() string {
	resource := string(a.Resource) + "." + v1alpha1.GroupVersion.Group
	if a.Name != "" {
		resource += "/" + a.Name
	}
	if a.Namespace == "" {
		return fmt.Sprintf("%s %s in all namespaces", a.Verb, resource)
	}
	return fmt.Sprintf("%s %s in namespace %s", a.Verb, resource, a.Namespace)
}

// Decision is the answer of an Authorizer.
type Decision struct {
	Allowed bool
	// Reason is what the API server says about it, which may be empty.
	Reason string
}

// LoginError is returned by Viewers for a request without a valid session.
type LoginError struct {
	// Message says what is wrong, as a sentence for the viewer.
	Message string
	// Fix says what to do.
	Fix string
	// URL is the path at which the viewer can log in. Empty: there is none.
	URL string
}

func (e *LoginError) Error() string { return e.Message }

// formToken returns the token that each form of the viewer has. It is made from the session, and
// differs each time, so that the size of a compressed page says nothing about it.
func (v *Viewer) formToken() string {
	mac := v.formMAC()
	if mac == nil {
		return ""
	}
	token := make([]byte, 2*len(mac)) // a random half, and mac xor this half
	pad, masked := token[:len(mac)], token[len(mac):]
	_, _ = rand.Read(pad) // it never fails
	subtle.XORBytes(masked, mac, pad)
	return base64.RawURLEncoding.EncodeToString(token)
}

// hasFormToken reports whether a form was made for this session.
func (v *Viewer) hasFormToken(token string) bool {
	mac := v.formMAC()
	masked, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || mac == nil || len(masked) != 2*len(mac) {
		return false
	}
	got := make([]byte, len(mac))
	subtle.XORBytes(got, masked[:len(mac)], masked[len(mac):])
	return hmac.Equal(mac, got)
}

// formMAC returns what the tokens of the session are made from, or nil without a session.
func (v *Viewer) formMAC() []byte {
	if v.Session == "" {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(v.Session))
	mac.Write([]byte("goshawk-console-form"))
	return mac.Sum(nil)
}

// displayName returns the name for the header of the page.
func (v *Viewer) displayName() string { return cmp.Or(v.Name, "unknown user") }
