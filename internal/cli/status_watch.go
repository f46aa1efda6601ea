// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/progress"
)

const (
	// maxQuiet is the longest time between two reads, in case that the watch delivers nothing.
	maxQuiet = 30 * time.Second
	// detailsAge is how old the members and the examples of failed targets may be.
	detailsAge = 10 * time.Second
	// longestRetry is the longest time between two attempts to reach the cluster.
	longestRetry = 15 * time.Second
)

// follower shows the rollouts of a command whenever they change.
type follower struct {
	*statusCommand
	redraws bool
	live    progress.Live
	// printed has the last line of each rollout.
	printed map[string]string
	// details has what was read of each named rollout besides the object, and when.
	details map[string]details
	shown   []explain.Status
	// missing is the error of a rollout that does not exist yet.
	missing error
	// warned is the last error of a read that was tried again.
	warned string
}

type details struct {
	world explain.StatusWorld
	at    time.Time
}

// follow shows each change until the rollouts have ended, or with --wait=person need a person. With
// --wait it returns the exit code of their state.
func (s *statusCommand) follow(parent context.Context) error {
	ctx := parent
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = s.withTimeout(parent, s.timeout)
		defer cancel()
	}
	f := &follower{
		statusCommand: s, redraws: s.Terminal() && s.Getenv("NO_COLOR") == "",
		live: progress.Live{Out: s.Out}, printed: map[string]string{}, details: map[string]details{},
	}
	err := f.run(ctx)
	switch {
	case err == nil:
	case parent.Err() != nil:
		return &ExitError{Code: codeInterrupted}
	case ctx.Err() != nil && f.shown == nil && f.missing != nil:
		return f.missing
	case ctx.Err() != nil && f.shown == nil:
		return fmt.Errorf("--timeout of %s is over before the status could be read: %w", explain.Duration(s.timeout), err)
	case ctx.Err() != nil:
		return f.timedOut()
	default:
		return err
	}
	if err := f.finish(); err != nil || s.wait == "" && !s.exitCode {
		return err
	}
	return exitWith(f.shown)
}

// run reads and shows the rollouts until they need no more waiting. Once it has read them, it
// tries again if the cluster cannot be reached.
func (f *follower) run(ctx context.Context) error {
	retry, stop := f.refresh, func() {}
	defer func() { stop() }()
	var events <-chan watch.Event
	for {
		var err error
		if events == nil { // before the read, so that no change is missed
			stop()
			stop, events, err = f.watchRollouts(ctx)
		}
		if err == nil {
			err = f.step(ctx)
		}
		switch {
		case err == nil && f.isDone():
			return nil
		case err == nil:
			retry, f.warned = f.refresh, ""
		case ctx.Err() != nil:
			return ctx.Err()
		case f.allowMissing && f.shown == nil && isMissing(err):
			f.missing = err
			f.warn("waiting until it does", err)
		case f.shown == nil || !isTransient(err):
			return err
		default:
			f.warn("trying again until it works", err)
			retry, events = min(2*retry, longestRetry), nil
		}
		if events, err = f.pause(ctx, events, retry); err != nil {
			return err
		}
	}
}

// warn prints an error after which the command goes on, once until something works again.
func (f *follower) warn(what string, err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if text != f.warned {
		f.warned = text
		fmt.Fprintf(f.ErrOut, "warning: %s; %s\n", progress.Visible(text), what)
	}
}

// isMissing reports whether an object does not exist.
func isMissing(err error) bool {
	var exit *ExitError
	return errors.As(err, &exit) && exit.Code == CodeNotFound
}

// step reads and shows the rollouts once.
func (f *follower) step(ctx context.Context) error {
	rollouts, err := f.read(ctx)
	if err != nil {
		return err
	}
	var statuses []explain.Status
	for _, r := range rollouts {
		world := explain.StatusWorld{Rollout: r}
		if len(f.names) > 0 {
			if world, err = f.detailsOf(ctx, r); err != nil {
				return err
			}
		}
		world.Now = f.Now()
		statuses = append(statuses, explain.StatusOf(world))
	}
	f.shown = append([]explain.Status{}, statuses...)
	return f.draw()
}

// detailsOf returns what the status of a rollout is computed from. The details are read again when
// they are old, or when the rollout is in another state.
func (f *follower) detailsOf(ctx context.Context, r *v1alpha1.Rollout) (explain.StatusWorld, error) {
	known, now := f.details[r.Name], f.Now()
	if known.world.Rollout != nil && known.world.Rollout.Status.State == r.Status.State && now.Sub(known.at) < detailsAge {
		known.world.Rollout = r
		return known.world, nil
	}
	world := explain.StatusWorld{Rollout: r}
	if err := f.readDetails(ctx, &world); err != nil {
		return world, err
	}
	f.details[r.Name] = details{world: world, at: now}
	return world, nil
}

// watchRollouts starts a watch of the rollouts, which only says when to read them again.
func (f *follower) watchRollouts(ctx context.Context) (stop func(), events <-chan watch.Event, err error) {
	c, err := f.Client()
	if err != nil {
		return func() {}, nil, err
	}
	namespace, err := f.scope()
	if err != nil {
		return func() {}, nil, err
	}
	options := []client.ListOption{client.InNamespace(namespace)}
	if len(f.names) == 1 {
		options = append(options, client.MatchingFields{"metadata.name": f.names[0]})
	}
	w, err := c.Watch(ctx, &v1alpha1.RolloutList{}, options...)
	if err != nil {
		return func() {}, nil, err
	}
	return w.Stop, w.ResultChan(), nil
}

// pause waits at least this long, and then for a change. Meanwhile a terminal shows the time. It
// returns the events, or nil if the watch has ended.
func (f *follower) pause(ctx context.Context, events <-chan watch.Event, least time.Duration) (<-chan watch.Event, error) {
	earliest, quiet := time.After(least), time.After(maxQuiet)
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	isChanged, isEarly := events == nil, true
	for isEarly || !isChanged {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e, ok := <-events:
			isChanged = true
			if !ok || e.Type == watch.Error {
				events = nil
			}
		case <-earliest:
			isEarly = false
		case <-quiet:
			return events, nil
		case <-seconds.C:
			if err := f.redraw(); err != nil {
				return nil, err
			}
		}
	}
	return events, nil
}

// isDone reports whether there is nothing to wait for.
func (f *follower) isDone() bool {
	if len(f.names) == 0 && f.wait == "" {
		return false
	}
	return !slices.ContainsFunc(f.shown, func(r explain.Status) bool {
		if f.wait == waitForPerson {
			return r.Outcome == explain.OutcomeRunning
		}
		return r.Outcome == explain.OutcomeRunning || !r.Ended()
	})
}

// draw shows the rollouts: redrawn on a terminal, else a line for each that has changed.
func (f *follower) draw() error {
	if f.redraws || f.format.value != Text {
		return f.redraw()
	}
	for i := range f.shown {
		r := &f.shown[i]
		line := progress.Line(*r)
		if f.allNamespaces {
			line = r.Namespace + "/" + line
		}
		key := r.Namespace + "/" + r.Name
		if f.printed[key] == line {
			continue
		}
		f.printed[key] = line
		if _, err := fmt.Fprintln(f.Out, f.Now().Format(time.TimeOnly), progress.Visible(line)); err != nil {
			return err
		}
	}
	return nil
}

// redraw replaces what the terminal shows. What does not fit is left out, because lines that have
// scrolled away cannot be replaced.
func (f *follower) redraw() error {
	if !f.redraws || f.format.value != Text || f.shown == nil {
		return nil
	}
	_, rows, _ := f.TerminalSize()
	lines := strings.SplitAfter(progress.Visible(f.text(f.shown, rows)), "\n")
	if rows > 1 && len(lines) > rows {
		lines = append(lines[:rows-2], "...\n")
	}
	return f.live.Show(strings.Join(lines, ""))
}

// finish shows the rollouts as they are at the end, in full.
func (f *follower) finish() error {
	if f.redraws && f.format.value == Text {
		if err := f.live.Show(""); err != nil {
			return err
		}
	}
	return f.statusCommand.show(f.shown)
}

// timedOut returns the error of --timeout, with the exit code of the state.
func (f *follower) timedOut() error {
	code, waiting := CodeRunning, []string{}
	for i := range f.shown {
		r := &f.shown[i]
		if r.Ended() {
			continue
		}
		code = max(code, codes[r.Outcome])
		text := fmt.Sprintf("%s is %s", r.Name, r.State)
		if r.Message != "" {
			text += ": " + r.Message
		}
		waiting = append(waiting, text)
	}
	if f.format.value != Text {
		if err := f.statusCommand.show(f.shown); err != nil {
			return err
		}
	}
	if f.wait == "" && !f.exitCode {
		return nil
	}
	return &ExitError{Code: code, Err: fmt.Errorf("--timeout of %s is over; %s", explain.Duration(f.timeout), strings.Join(waiting, "; "))}
}

// isTransient reports whether an error may go away by itself.
func isTransient(err error) bool {
	var exit *ExitError
	switch {
	case errors.As(err, &exit), apierrors.IsNotFound(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return false
	}
	return true
}
