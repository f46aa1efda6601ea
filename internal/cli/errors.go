// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/progress"
)

// Exit codes of all commands. Those from 3 to 6 are results, which a pipeline can tell from an
// error.
const (
	// CodeError is an error without a code of its own.
	CodeError = 1
	// CodeUsage is a wrong command line.
	CodeUsage = 2
	// CodeRunning is a rollout that goes on by itself.
	CodeRunning = 3
	// CodeWaitsForPerson is a rollout that waits for a person, such as for an approval.
	CodeWaitsForPerson = 4
	// CodePausedByErrors is a rollout that was paused automatically.
	CodePausedByErrors = 5
	// CodeFailed is a rollout that was stopped, or ended without success.
	CodeFailed = 6
	// CodeNotFound is an object that does not exist.
	CodeNotFound = 7

	codeInterrupted = 130
)

// ExitError is an error with an exit code of its own. Without Err nothing is printed.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// usageError returns an error about the command line of c.
func usageError(c *cobra.Command, err error) error {
	return &ExitError{Code: CodeUsage, Err: fmt.Errorf("%w\nsee `%s --help`", err, c.CommandPath())}
}

func codeOf(err error) int {
	if apierrors.IsNotFound(err) {
		return CodeNotFound
	}
	return CodeError
}

// fixed is an error with a sentence about the fix.
type fixed struct {
	error
	fix string
}

func (e fixed) Error() string { return e.error.Error() + "\n" + e.fix }
func (e fixed) Unwrap() error { return e.error }

const listContexts = "`kubectl config get-contexts` lists the contexts"

// printError prints an error with what to do. The API server quotes fields of objects in errors, so
// invisible characters are left out.
func printError(out io.Writer, err error) {
	_, _ = fmt.Fprintln(out, "error:", progress.Visible(withFix(err).Error()))
}

// withFix adds to an error of the API server, or of the way to it, what to do.
func withFix(err error) error {
	var request *url.Error
	switch {
	case errors.As(err, new(fixed)):
		return err
	case clientcmd.IsEmptyConfig(err):
		return fixed{err, "set KUBECONFIG, or give --kubeconfig, and choose a cluster with --context"}
	case clientcmd.IsContextNotFound(err):
		return fixed{err, listContexts}
	case meta.IsNoMatchError(err):
		return fixed{err, fmt.Sprintf("the cluster does not serve %s: install Goshawk in it, or choose another cluster with --context", v1alpha1.GroupVersion)}
	case apierrors.IsForbidden(err):
		return fixed{err, roleFor(err) + "docs/rights.md lists the rights of each role; `kubectl auth whoami` prints the user"}
	case apierrors.IsUnauthorized(err):
		return fixed{err, "the cluster does not accept the credentials of the kubeconfig: log in again, or choose another user with --context"}
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return fixed{err, "the cluster did not answer in time: check the network, or raise --request-timeout"}
	case errors.As(err, &request):
		return fixed{err, "the cluster cannot be reached: check the address in the kubeconfig, the network, and --context"}
	default:
		return err
	}
}

// roleFor returns which role gives the right that was missing, as the start of a sentence, if it is
// a right to read objects of Goshawk, or to archive reports.
func roleFor(err error) string {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	details := status.Status().Details
	isRead := slices.ContainsFunc([]string{"get", "list", "watch"}, func(verb string) bool { return strings.Contains(err.Error(), "cannot "+verb+" resource") })
	switch {
	case details.Group == v1alpha1.GroupVersion.Group && isRead:
		return "the ClusterRole goshawk-viewer gives this right; "
	case details.Group == "" && details.Kind == "configmaps":
		return "the ClusterRole goshawk-reporter gives the right to archive reports and to read them; "
	}
	return ""
}
