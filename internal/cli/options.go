// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/progress"
)

// FieldManager is the manager of the fields that the commands with --apply write.
const FieldManager = "kubectl-goshawk"

// Options is what all commands share: streams, cluster, time, and the terminal.
type Options struct {
	genericiooptions.IOStreams
	// Config has the flags that choose the cluster, the user and the namespace.
	Config *genericclioptions.ConfigFlags
	// Now returns the time.
	Now func() time.Time
	// Getenv returns an environment variable.
	Getenv func(string) string
	// TerminalSize returns the size of the terminal that Out is, or false if it is none.
	TerminalSize func() (columns, rows int, ok bool)
	// AsksTerminal reports whether In is a terminal, at which a person can answer a question.
	AsksTerminal func() bool

	// refresh is the shortest time between two reads of a command that shows each change.
	refresh time.Duration
	// withTimeout is context.WithTimeout.
	withTimeout func(context.Context, time.Duration) (context.Context, context.CancelFunc)
	// openBrowser opens an address in a browser.
	openBrowser func(ctx context.Context, address string) error
	// connect returns a client for the cluster of Config.
	connect func() (client.WithWatch, error)
	client  client.WithWatch
}

// NewOptions returns the options of a process: the cluster of the kubeconfig, the clock and the
// environment.
func NewOptions(streams genericiooptions.IOStreams) *Options {
	o := &Options{
		IOStreams: streams,
		Config:    genericclioptions.NewConfigFlags(true),
		Now:       time.Now,
		Getenv:    os.Getenv,
		refresh:   500 * time.Millisecond,

		withTimeout: context.WithTimeout,
	}
	o.connect = o.dial
	o.openBrowser = func(ctx context.Context, address string) error { return startBrowser(ctx, o.Getenv, address) }
	o.AsksTerminal = func() bool {
		file, ok := o.In.(*os.File)
		return ok && term.IsTerminal(int(file.Fd()))
	}
	o.TerminalSize = func() (int, int, bool) {
		file, ok := o.Out.(*os.File)
		if !ok || !term.IsTerminal(int(file.Fd())) || o.Getenv("TERM") == "dumb" {
			return 0, 0, false
		}
		columns, rows, err := term.GetSize(int(file.Fd()))
		return columns, rows, err == nil
	}
	return o
}

func (o *Options) addFlags(flags *pflag.FlagSet) {
	o.Config.AddFlags(flags)
	describe(flags)
}

// Client returns a client for the cluster. It is the same one for all calls.
func (o *Options) Client() (client.WithWatch, error) {
	if o.client == nil {
		c, err := o.connect()
		if err != nil {
			return nil, err
		}
		o.client = c
	}
	return o.client, nil
}

func (o *Options) dial() (client.WithWatch, error) {
	ctrl.SetLogger(logr.Discard())
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// config returns the configuration of a client for the cluster of Config.
func (o *Options) config() (*rest.Config, error) {
	if err := o.checkConfig(); err != nil {
		return nil, err
	}
	config, err := o.Config.ToRESTConfig()
	if err != nil {
		return nil, o.configError(err)
	}
	config.QPS, config.Burst = 50, 300 // as kubectl
	return config, nil
}

// checkConfig returns an error if no cluster is configured: client-go would ask localhost:8080.
func (o *Options) checkConfig() error {
	loader := o.Config.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	switch {
	case err != nil:
		return o.configError(err)
	case len(raw.Clusters) > 0, isGiven(o.Config.APIServer), o.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return nil
	}
	files := strings.Join(loader.ConfigAccess().GetLoadingPrecedence(), ", ")
	return fixed{fmt.Errorf("no cluster is configured in %s", files), "set KUBECONFIG, or give --kubeconfig"}
}

func isGiven(flag *string) bool { return flag != nil && *flag != "" }

// configError returns an error about the kubeconfig.
func (o *Options) configError(err error) error {
	if err != nil && isGiven(o.Config.Context) {
		return fixed{err, listContexts}
	}
	if err != nil {
		files := strings.Join(o.Config.ToRawKubeConfigLoader().ConfigAccess().GetLoadingPrecedence(), ", ")
		return fixed{err, fmt.Sprintf("correct the kubeconfig (%s) or the flags: `kubectl config view` shows what kubectl reads of it", files)}
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(corev1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Namespace returns the namespace of --namespace, else of the context, else "default".
func (o *Options) Namespace() (string, error) {
	namespace, _, err := o.Config.ToRawKubeConfigLoader().Namespace()
	return namespace, o.configError(err)
}

// Terminal reports whether the output is a terminal, on which text can be redrawn.
func (o *Options) Terminal() bool {
	_, _, ok := o.TerminalSize()
	return ok
}

// Style returns the style of the output: with colors only on a terminal and without NO_COLOR, and
// without a limit of the rows. Text for a pipe is 100 columns wide.
func (o *Options) Style() progress.Style {
	columns, _, ok := o.TerminalSize()
	if !ok {
		columns = 100
	}
	style := progress.StyleFor(o.Getenv, columns, 0)
	style.Color = style.Color && ok
	return style
}
