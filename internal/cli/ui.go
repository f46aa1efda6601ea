// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/console"
	caches "github.com/goshawk-dev/goshawk/internal/console/source"
	"github.com/goshawk-dev/goshawk/internal/decode"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// userTimeout is the maximum time to ask the API server for the name of the user.
const userTimeout = 5 * time.Second

// uiCommand is `kubectl goshawk ui`.
type uiCommand struct {
	*Options
	address       string
	port          uint16
	allNamespaces bool
	noBrowser     bool
}

func newUICommand(o *Options) *cobra.Command {
	u := &uiCommand{Options: o}
	c := &cobra.Command{
		Use:   "ui",
		Short: "Open the console in a browser, with your own rights",
		Long: `Serves the console on this machine until it is interrupted, and opens it in a browser: the fleet,
rollouts with what they wait for, sets, targets and overlaps, updated as they change. It shows what
your kubeconfig may read in the namespace, and proposes changes as a patch and a command.

Only this machine can reach it. The address that it prints has a secret that opens one browser once;
after that it prints another address for another browser.

The console lists and watches each kind once. That needs the verbs list and watch, such as by the
ClusterRole goshawk-viewer; a kind that you may not list is shown as not readable.`,
		Example: `  # The namespace of the context; another one with -n, all of them with -A
  kubectl goshawk ui
  kubectl goshawk ui -n fleet
  kubectl goshawk ui -A

  # On a machine without a browser, through ssh: on that machine
  kubectl goshawk ui -A --port 8910 --no-browser
  # and on your own machine, before you open the printed address
  ssh -L 8910:127.0.0.1:8910 MACHINE`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	flags.StringVar(&u.address, "address", "127.0.0.1", "address of this machine to serve on; it must be a loopback address")
	flags.Uint16Var(&u.port, "port", 0, "port to serve on; 0: a free one")
	flags.BoolVarP(&u.allNamespaces, "all-namespaces", "A", false, "show all namespaces")
	flags.BoolVar(&u.noBrowser, "no-browser", false, "print the address and open no browser")
	c.RunE = func(c *cobra.Command, _ []string) error {
		at, err := loopback(u.address)
		if err != nil {
			return usageError(c, err)
		}
		return u.run(c.Context(), netip.AddrPortFrom(at, u.port))
	}
	return c
}

// loopback returns the loopback address that a flag names.
func loopback(address string) (netip.Addr, error) {
	if address == "localhost" {
		address = "127.0.0.1"
	}
	at, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return at, fmt.Errorf("--address is %q; it must be a loopback address such as 127.0.0.1 or ::1", address)
	case !at.Unmap().IsLoopback():
		return at, fmt.Errorf("--address is %s, which other machines can reach; it must be a loopback address such as 127.0.0.1 or ::1: the console acts with your rights", address)
	}
	return at, nil
}

// run serves the console until ctx ends.
func (u *uiCommand) run(ctx context.Context, at netip.AddrPort) error {
	ctrl.SetLogger(logr.Discard())
	config, err := u.config()
	if err != nil {
		return err
	}
	var namespaces []string
	if !u.allNamespaces {
		namespace, err := u.Namespace()
		if err != nil {
			return err
		}
		namespaces = []string{namespace}
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: console.Mapper()})
	if err != nil {
		return err
	}
	objects, err := caches.New(ctx, config, caches.Options{Namespaces: namespaces, Unreadable: decode.NewReport(), Now: u.Now})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return fixed{fmt.Errorf("serve on %s: %w", at, err), "choose another port with --port, or leave it out for a free one"}
	}
	sessions, err := newUISessions(listener.Addr().String())
	if err != nil {
		return err
	}
	sessions.viewer = console.Viewer{
		Name: u.userName(ctx, config, c), Client: c,
		Authorizer: ownCaches{console.NewReviews(u.Now).Of("", c)},
	}
	sessions.opened = func(next string) {
		fmt.Fprintf(u.ErrOut, "Opened in a browser. In another browser: %s\n", next)
	}
	server := console.New(console.Options{Source: objects, Viewers: sessions, Login: sessions, IsHost: sessions.isHost, Now: u.Now, Log: logr.Discard()})
	shown := "all namespaces"
	if len(namespaces) > 0 {
		shown = "namespace " + namespaces[0]
	}
	address := sessions.newAddress()
	fmt.Fprintf(u.Out, "The console of %s, as %s: %s\n", shown, sessions.viewer.Name, address)
	fmt.Fprintln(u.ErrOut, "Ctrl-C ends it.")
	if !u.noBrowser {
		if err := u.openBrowser(ctx, address); err != nil {
			fmt.Fprintf(u.ErrOut, "No browser was opened (%s): open the address yourself.\n", err)
		}
	}
	reading, stop := context.WithCancel(ctx)
	read := make(chan error, 1)
	go func() { read <- objects.Run(reading) }()
	err = server.Serve(ctx, listener)
	stop()
	return errors.Join(err, <-read)
}

// userName returns the name of the user, as the API server knows it, or else that of the
// kubeconfig.
func (u *uiCommand) userName(ctx context.Context, config *rest.Config, c client.Client) string {
	ctx, stop := context.WithTimeout(ctx, userTimeout)
	defer stop()
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err == nil && review.Status.UserInfo.Username != "" {
		return text.Clean(review.Status.UserInfo.Username, 200)
	}
	if config.Impersonate.UserName != "" {
		return config.Impersonate.UserName
	}
	raw, err := u.Config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return ""
	}
	name := raw.CurrentContext
	if isGiven(u.Config.Context) {
		name = *u.Config.Context
	}
	if at := raw.Contexts[name]; at != nil {
		return at.AuthInfo
	}
	return ""
}

// ownCaches are the rights of a viewer whose rights the caches have: what they have, the viewer may
// see. Other rights are asked for.
type ownCaches struct{ console.Authorizer }

// May reports whether the viewer may do this.
func (o ownCaches) May(ctx context.Context, a console.Access) (console.Decision, error) {
	switch a.Verb {
	case "get", "list", "watch":
		return console.Decision{Allowed: true}, nil
	}
	return o.Authorizer.May(ctx, a)
}

// startBrowser opens an address in the browser of this machine.
func startBrowser(ctx context.Context, getenv func(string) string, address string) error {
	var command []string
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open"}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	default:
		if getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "" && getenv("WSL_DISTRO_NAME") == "" {
			return errors.New("there is no display")
		}
		command = []string{"xdg-open"}
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return fmt.Errorf("there is no program %s", command[0])
	}
	started := exec.CommandContext(context.WithoutCancel(ctx), command[0], append(command[1:], address)...) //nolint:gosec // the address is that of the console
	if err := started.Start(); err != nil {
		return err
	}
	go func() { _ = started.Wait() }()
	return nil
}
