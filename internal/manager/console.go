// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/console/login"
	"github.com/goshawk-dev/goshawk/internal/console/source"
)

// ConsoleOptions are the settings of the console.
type ConsoleOptions struct {
	// Listener accepts the connections of browsers. If it is nil, there is no console.
	Listener net.Listener
	// CertificateFile and KeyFile, in PEM, are the server certificate of the console, which then
	// serves HTTPS. They are read again when they change. If both are empty, it serves HTTP.
	CertificateFile, KeyFile string
	// Login lets viewers log in. Its Rights, Show, Now and Log are set by the process.
	Login login.Options
}

// serveConsole serves the console until ctx ends. It has caches of its own, with the rights of the
// process, and serves from the start: pages whose objects have not been read yet say so.
func (p *process) serveConsole(ctx context.Context) (err error) {
	o := p.o.Console
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("serve the console: %w", err), ignoreClosed(o.Listener.Close()))
		}
	}()
	objects, err := source.New(ctx, p.config, source.Options{Namespaces: p.o.WatchNamespaces, Unreadable: p.unreadable, Now: p.o.Now})
	if err != nil {
		return err
	}
	settings, log := o.Login, ctrl.Log.WithName("console")
	if settings.Rights, err = login.NewImpersonation(p.config, Scheme(), p.o.Now); err != nil {
		return err
	}
	var server *console.Server
	settings.Now, settings.Log = p.o.Now, log
	settings.Show = func(w http.ResponseWriter, r *http.Request, m console.Message) { server.ServeMessage(w, r, m) }
	people, err := login.New(settings)
	if err != nil {
		return err
	}
	certificate, err := p.serverTLS(ctx, serverConsole, o.CertificateFile, o.KeyFile)
	if err != nil {
		return err
	}
	server = console.New(console.Options{Source: objects, Viewers: people, Login: people, IsHost: people.IsHost, TLS: certificate, Now: p.o.Now, Log: log})
	p.console.Store(objects)
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return objects.Run(ctx) })
	running.Go(func() error { people.Run(ctx); return nil })
	running.Go(func() error { return server.Serve(ctx, o.Listener) })
	return running.Wait()
}

// ignoreClosed returns the error of closing a listener, unless it was closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// consoleReady returns nil when each kind of the console has been read or is refused: a page says
// what is refused.
func (p *process) consoleReady() error {
	if p.o.Console.Listener == nil {
		return nil
	}
	objects := p.console.Load()
	if objects == nil {
		return errors.New("the console is not served yet")
	}
	for _, kind := range console.Kinds() {
		if r := objects.Reading(kind, ""); !r.Synced && r.Refused == "" {
			return fmt.Errorf("the %s of the console have not been read yet", kind)
		}
	}
	return nil
}
