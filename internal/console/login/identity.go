// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// Anonymous is the user that a browser without a login is for the API server.
const Anonymous = "goshawk:anonymous"

// The prefixes of names that a login never gives: those of the API server's own users and groups,
// such as system:masters, and those of the console's own.
var reserved = []string{"system:", "goshawk:"}

// maxName is the maximum length of the name of a user or a group, in bytes.
const maxName = 512

// Claims says which claims of an ID token name the user and the groups. The fields mean the same as
// the flags --oidc-* of kube-apiserver.
type Claims struct {
	// Username is the claim with the name of the user. Empty: sub. A user with the claim email
	// needs email_verified to be true or absent.
	Username string
	// UsernamePrefix is put before the name. Empty: the URL of the issuer and #, or nothing if the
	// claim is email. "-": nothing.
	UsernamePrefix string
	// Groups is the claim with the groups, a text or a list of texts. Empty: users have no groups.
	Groups string
	// GroupsPrefix is put before the name of each group.
	GroupsPrefix string
	// Only are the groups, with their prefix, that count. Others are left out. Empty: all count.
	Only []string
}

// identity is a user as the API server knows it.
type identity struct {
	Name   string
	Groups []string
}

// refusal is an error that is shown to the person who logs in.
type refusal struct{ message, fix string }

func (r *refusal) Error() string { return r.message }

func (c Claims) usernameClaim() string {
	if c.Username == "" {
		return "sub"
	}
	return c.Username
}

// usernamePrefix returns the prefix of users of an issuer.
func (c Claims) usernamePrefix(issuer string) string {
	switch {
	case c.UsernamePrefix == "-":
		return ""
	case c.UsernamePrefix == "" && c.usernameClaim() != "email":
		return issuer + "#"
	default:
		return c.UsernamePrefix
	}
}

// check returns an error if a prefix would give each user a reserved name.
func (c Claims) check(issuer string) error {
	for _, p := range []struct{ flag, prefix string }{{"username", c.usernamePrefix(issuer)}, {"groups", c.GroupsPrefix}} {
		if isReserved(p.prefix) {
			return fmt.Errorf("--console-oidc-%s-prefix=%s starts with %s, which is reserved; another prefix, such as oidc:, is needed", p.flag, p.prefix, reservedPrefix(p.prefix))
		}
	}
	for _, group := range c.Only {
		if isReserved(group) {
			return fmt.Errorf("--console-oidc-groups contains %s; groups that start with %s are reserved", group, reservedPrefix(group))
		}
	}
	return nil
}

// identity returns the user of an ID token. The error is a *refusal.
func (c Claims) identity(issuer string, claims map[string]json.RawMessage) (identity, error) {
	name, err := c.name(claims)
	if err != nil {
		return identity{}, err
	}
	id := identity{Name: c.usernamePrefix(issuer) + name}
	if err := checkName("user", "username", id.Name); err != nil {
		return identity{}, err
	}
	groups, err := c.groups(claims)
	if err != nil {
		return identity{}, err
	}
	for _, group := range groups {
		group = c.GroupsPrefix + group
		if len(c.Only) > 0 && !slices.Contains(c.Only, group) {
			continue
		}
		if err := checkName("group", "groups", group); err != nil {
			return identity{}, err
		}
		id.Groups = append(id.Groups, group)
	}
	slices.Sort(id.Groups)
	id.Groups = slices.Compact(id.Groups)
	return id, nil
}

// name returns the name of the user without its prefix.
func (c Claims) name(claims map[string]json.RawMessage) (string, error) {
	claim := c.usernameClaim()
	var name string
	if json.Unmarshal(claims[claim], &name) != nil || name == "" {
		return "", &refusal{
			fmt.Sprintf("The ID token of the provider has no text in the claim %s, from which the console takes the name of the user.", claim),
			"The operator of the console sets --console-oidc-username-claim to a claim that the provider sends, or adds the scope that the claim needs to --console-oidc-scopes.",
		}
	}
	verified, isThere := claims["email_verified"]
	if isTrue := false; claim == "email" && isThere && (json.Unmarshal(verified, &isTrue) != nil || !isTrue) {
		return "", &refusal{
			fmt.Sprintf("The provider has not verified the address %s: the claim email_verified is not true.", text.Clean(name, maxName)),
			"Verify your address at the provider, and log in again.",
		}
	}
	return name, nil
}

// groups returns the names of the groups without their prefix.
func (c Claims) groups(claims map[string]json.RawMessage) ([]string, error) {
	if c.Groups == "" {
		return nil, nil
	}
	value, isThere := claims[c.Groups]
	if !isThere {
		var elsewhere map[string]string
		if _ = json.Unmarshal(claims["_claim_names"], &elsewhere); elsewhere[c.Groups] != "" {
			return nil, &refusal{
				fmt.Sprintf("You are in so many groups that the provider does not put them into the ID token: the claim %s is missing, and _claim_names names it.", c.Groups),
				"The operator of the provider limits the groups in the token, such as to those that are assigned to the application.",
			}
		}
		return nil, nil
	}
	var several []string
	if json.Unmarshal(value, &several) == nil {
		return several, nil
	}
	var one string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}, nil
	}
	return nil, &refusal{
		fmt.Sprintf("The claim %s of the ID token is neither a text nor a list of texts, so the console does not know your groups.", c.Groups),
		"The operator of the console sets --console-oidc-groups-claim to the claim with the names of the groups.",
	}
}

// checkName returns an error if the name of a user or a group, with its prefix, cannot be
// impersonated. flag is the part of the flags that is about it.
func checkName(what, flag, name string) error {
	switch {
	case name == "":
		return &refusal{
			fmt.Sprintf("The provider sends a %s with an empty name.", what),
			fmt.Sprintf("The operator of the provider corrects the claim, or the operator of the console sets --console-oidc-%s-prefix.", flag),
		}
	case len(name) > maxName:
		return &refusal{
			fmt.Sprintf("The name of the %s %s has %d bytes, and may have at most %d.", what, text.Clean(name, 40), len(name), maxName),
			fmt.Sprintf("The operator of the console sets --console-oidc-%s-claim to a claim with shorter names.", flag),
		}
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return &refusal{
			fmt.Sprintf("The name of the %s %s contains control characters or invalid UTF-8, so it cannot be sent to the API server.", what, text.Clean(name, 40)),
			fmt.Sprintf("The operator of the console sets --console-oidc-%s-claim to another claim.", flag),
		}
	case isReserved(name):
		return &refusal{
			fmt.Sprintf("The provider says that the %s is %s. The console acts as no user and no group whose name starts with %s, because that would give the provider the rights of the API server's own users.", what, text.Clean(name, 80), reservedPrefix(name)),
			fmt.Sprintf("The operator of the console sets --console-oidc-%[1]s-prefix, such as oidc:, so that no %[2]s of the provider can have such a name, or the operator of the provider removes the %[2]s.", flag, what),
		}
	}
	return nil
}

func isReserved(name string) bool { return reservedPrefix(name) != "" }

// reservedPrefix returns the reserved prefix that a name starts with, or "".
func reservedPrefix(name string) string {
	for _, prefix := range reserved {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}
