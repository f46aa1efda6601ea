# prose.pl width FILES: prints lines of comments and Markdown paragraphs that are too wide.
# prose.pl words LIST FILES: prints lines that use a word of the list.
use strict;
use warnings;
use utf8;

my $limit = 100;
my $mode  = shift @ARGV;
if ( $mode eq 'width' ) { width($_) for @ARGV }
elsif ( $mode eq 'words' ) { my ( $words, $exceptions ) = read_list( shift @ARGV ); words( $_, $words, $exceptions ) for @ARGV }
else { die "prose.pl: unknown mode $mode\n" }

# A line of a Go comment, markers and directives excepted; a line of Markdown outside of tables, code
# and links.
sub width {
    my ($file) = @_;
    open my $in, '<', $file or return;
    my $fence = 0;
    while ( my $line = <$in> ) {
        chomp $line;
        ( my $wide = $line ) =~ s/\t/    /g;
        if ( $file =~ /\.md$/ ) {
            $fence = !$fence if $line =~ /^\s*```/;
            next if $fence || $line =~ /^\s*(\||```|<|\[[^\]]+\]:)/ || $line =~ /^ {4}/ || $line !~ / \S+ /;
        }
        else {
            next if $line =~ m{^\s*//\t}; # a block of code
            next unless $line =~ m{^\s*// ?[^+]} && $line !~ m{^\s*//\s*(\+|go:|nolint)} && $line !~ m{https?://};
        }
        print "$file:$.: ", length($wide), " columns\n" if length($wide) > $limit;
    }
    close $in;
}

# The list has a line for each word: word, a tab, what to write instead. A line with "!" at its start is
# an exception: a regular expression for text that may stay.
sub read_list {
    my ($file) = @_;
    my ( %words, @exceptions );
    open my $in, '<', $file or die "$file: $!\n";
    while ( my $line = <$in> ) {
        chomp $line;
        next if $line =~ /^\s*(#|$)/;
        if ( $line =~ /^!\s*(.*)$/ ) { push @exceptions, qr/$1/; next }
        my ( $word, $instead ) = split /\t+/, $line, 2;
        $words{$word} = $instead;
    }
    return ( \%words, \@exceptions );
}

# Words are looked for in prose and in the parts of identifiers: hasStarted is has, Started.
sub words {
    my ( $file, $words, $exceptions ) = @_;
    open my $in, '<', $file or return;
    while ( my $line = <$in> ) {
        chomp( my $text = $line );
        $text =~ s/$_/ /g for @$exceptions;
        my %seen;
        while ( $text =~ /([A-Z]?[a-z]+|[A-Z]+(?![a-z]))/g ) {
            my $word = lc $1;
            next if !exists $words->{$word} || $seen{$word}++;
            print "$file:$.: $word: write $words->{$word}\n";
        }
    }
    close $in;
}
