// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// problem is an error that a page is shown for. Pages return those of the functions below; any
// other error is shown as an error of the console.
type problem struct {
	status int
	// title, message and fix are sentences for people.
	title, message, fix string
	// link is where the viewer can go on, with its text.
	link, linkText string
	// retry makes the page ask again by itself.
	retry bool
}

func (p *problem) Error() string { return p.message }

// notFound returns the problem of an object that does not exist.
func notFound(kind Kind, namespace, name string) error {
	return &problem{
		status: http.StatusNotFound, title: "Not found",
		message: fmt.Sprintf("%s %s/%s does not exist.", singular(kind), namespace, name),
		fix:     "It may have been deleted. Check the namespace and the name in the address.",
		link:    listPath(kind), linkText: "All " + plural(kind),
	}
}

// badRequest returns the problem of an address or a form with a value that is not accepted.
func badRequest(format string, args ...any) error {
	return &problem{status: http.StatusBadRequest, title: "Not understood", message: fmt.Sprintf(format, args...), fix: "Correct the address, or go back and use the links and forms of the page."}
}

// forbidden returns the problem of a viewer who may not do this. reason is what the API server
// says, which may be empty.
func forbidden(a Access, viewer, reason string) error {
	p := &problem{
		status: http.StatusForbidden, title: "Not allowed",
		message: fmt.Sprintf("%s may not %s.", viewer, a),
		fix:     fmt.Sprintf("Ask an administrator for a Role or ClusterRole with the verb %q on %s.goshawk.dev, such as the ClusterRole goshawk-viewer, bound %s.", a.Verb, a.Resource, boundIn(a.Namespace)),
	}
	if reason != "" {
		p.message += " The API server says: " + text.Clean(reason, maxReason)
	}
	return p
}

func boundIn(namespace string) string {
	if namespace == "" {
		return "in the namespaces of the fleet"
	}
	return "in namespace " + namespace
}

// maxReason is the maximum length of a message of the API server in a page, in bytes.
const maxReason = 1000

// refused returns the problem of a kind that the caches of the console may not read.
func refused(kind Kind, namespace, reason string) error {
	fix := fmt.Sprintf("Ask an administrator for the verbs list and watch on %s.goshawk.dev, such as by the ClusterRole goshawk-viewer, bound in ", kind)
	if namespace == "" {
		fix += "all namespaces that this console reads. Or read only one in which you have them: kubectl goshawk ui -n NAMESPACE, or in a cluster the flag --watch-namespaces."
	} else {
		fix += "namespace " + namespace + "."
	}
	return &problem{
		status: http.StatusForbidden, title: "Not readable",
		message: fmt.Sprintf("The API server does not let this console list and watch %s.goshawk.dev. It says: %s", kind, text.Clean(reason, maxReason)),
		fix:     fix + " The page shows the objects as soon as it is allowed.",
		retry:   true,
	}
}

// loading returns the problem of a kind that the caches have not read completely yet.
func loading(kind Kind, objects int) error {
	return &problem{
		status: http.StatusServiceUnavailable, title: "Loading",
		message: fmt.Sprintf("The console has just started and reads the %s: %d so far.", plural(kind), objects),
		fix:     "They appear by themselves as soon as all are read.",
		retry:   true,
	}
}

// errInterrupted is the error of a page that another request was making when it ended.
var errInterrupted = errors.New("the page was not finished")

// redirect is returned by a page that sends the browser to another path of the console.
type redirect struct{ path string }

func (r *redirect) Error() string { return "redirect to " + r.path }

// problemOf returns the problem that an error is shown as.
func problemOf(err error) *problem {
	var p *problem
	var login *LoginError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &login):
		p = &problem{status: http.StatusUnauthorized, title: "Not logged in", message: login.Message, fix: login.Fix, link: login.URL}
		if p.link != "" {
			p.linkText = "Log in"
		}
		return p
	default:
		return &problem{
			status: http.StatusInternalServerError, title: "Error", message: "The console could not make this page: " + text.Clean(err.Error(), maxReason),
			fix: "Load the page again. If this lasts, look into the log of the console.",
		}
	}
}

// beforeLogin returns the problem for a viewer. If the viewer has no login and may not see a page,
// the first thing to do is to log in.
func (p *problem) beforeLogin(viewer *Viewer) *problem {
	if p.status != http.StatusForbidden || viewer == nil || !viewer.Anonymous || viewer.Login == "" || p.link != "" {
		return p
	}
	login := *p
	login.fix = strings.TrimSpace("Log in to see what you may see with your own rights. " + p.fix)
	login.link, login.linkText = viewer.Login, "Log in"
	return &login
}

// kindNames are the names of the kinds in sentences.
var kindNames = map[Kind]struct{ singular, plural, path string }{
	Rollouts:         {"Rollout", "rollouts", "/rollouts"},
	DeploymentGroups: {"DeploymentGroup", "deployment groups", "/rollouts"},
	DistributionSets: {"DistributionSet", "distribution sets", "/sets"},
	SoftwareModules:  {"SoftwareModule", "software modules", "/sets"},
	Targets:          {"Target", "targets", "/targets"},
	Inventories:      {"TargetInventory", "inventories of targets", "/targets"},
	AutoAssignments:  {"AutoAssignment", "auto-assignments", "/autoassignments"},
}

func singular(kind Kind) string { return kindNames[kind].singular }

func plural(kind Kind) string { return kindNames[kind].plural }

func listPath(kind Kind) string { return kindNames[kind].path }
